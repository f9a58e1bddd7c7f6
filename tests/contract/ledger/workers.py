"""Workers that talk to a ledger, in as few words as a table of cases needs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from bus import conf
from bus.errors import LedgerUnavailableError
from bus.ledger import Answer, Attempt, Claim, Ledger, Settlement, Status, Verdict
from tests.redis_server import RedisAddress, RedisServer

GROUP = "billing"
TOPIC = "order.created"
EVENT = "event-1"
MINUTE_MS = 60_000
FAILURE = Attempt(1_764_000_000_000, 12, "a", "ValueError: no")

#: Makes a worker of the ledger under test: `worker("a")`.
MakeWorker = Callable[[str], "Worker"]


def ledger_at(address: RedisAddress, **settings: Any) -> Ledger:
    """A ledger on that Redis."""
    given = {"redis_url_given": address.url, "redis_cluster": address.cluster, **settings}
    return Ledger(settings=conf.load(conf.BusSettings, **given))


class Worker:
    """One worker: counts its calls, and remembers with which number it claimed last."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self.ledger = ledger
        self.name = name
        self.number = 0
        self.claimed = 0

    def call(
        self, settlements: Sequence[Settlement] = (), claims: Sequence[Claim] = ()
    ) -> tuple[list[bool], list[Answer]]:
        """A call with the next number."""
        self.number += 1
        return self.repeat(settlements, claims)

    def repeat(
        self, settlements: Sequence[Settlement] = (), claims: Sequence[Claim] = ()
    ) -> tuple[list[bool], list[Answer]]:
        """A call with the number of the last one."""
        return self.ledger.exchange(self.name, self.number, settlements, claims)

    def claim(self, event_id: str = EVENT, *, generation: int = 0, alone: bool = False) -> Answer:
        _, [answer] = self.call((), [claim(event_id, generation, alone)])
        if answer.verdict in (Verdict.GRANTED, Verdict.AGAIN):
            self.claimed = answer.number
        return answer

    def outcome(self, outcome: Status | None, event_id: str = EVENT, **values: Any) -> Settlement:
        """A settlement of what this worker claimed last."""
        given = {"generation": 0, "number": self.claimed, **values}
        if outcome is not None:
            given.setdefault("attempts", 1)
        return Settlement(event_id, GROUP, TOPIC, outcome=outcome, **given)

    def settle(self, outcome: Status | None, event_id: str = EVENT, **values: Any) -> bool:
        """Whether the outcome stands."""
        [kept], _ = self.call([self.outcome(outcome, event_id, **values)])
        return kept

    def dies(self) -> None:
        """What a lapse of its lease amounts to."""
        self.ledger.end_lease(self.name)


def claim(event_id: str = EVENT, generation: int = 0, alone: bool = False) -> Claim:
    """A claim for the group of these tests."""
    return Claim(event_id, GROUP, TOPIC, generation, alone)


def state(ledger: Ledger, event_id: str = EVENT) -> tuple[Status, int, str | None] | None:
    """What the group has: status, generation, and the worker of a running event."""
    found = ledger.status(event_id, [GROUP])
    if found is None or not found.groups:
        return None
    [group] = found.groups
    return group.status, group.generation, group.worker


def records(ledger: Ledger, event_ids: Iterable[str]) -> dict[str, bytes | None]:
    """The group's records as they stand in Redis."""
    return {each: ledger.client.get(ledger._group_key(GROUP, each)) for each in event_ids}


def remaining_ms(ledger: Ledger, kind: str) -> list[int]:
    """The PTTL of every key of a kind: e publish records, g group records, w leases, c correlation lists."""
    return [ledger.client.pttl(key) for key in ledger.client.scan_iter(match=f"{ledger.prefix}:*:{kind}:*")]


LONGEST_SECONDS = 7.0
"""Time-outs of two seconds each for the call, its repetition or a look for new nodes; and a slow machine."""


@contextmanager
def fails_in_time(match: str | None = None) -> Iterator[pytest.ExceptionInfo[LedgerUnavailableError]]:
    """Expect LedgerUnavailableError, and not after minutes."""
    began = time.monotonic()
    with pytest.raises(LedgerUnavailableError, match=match) as caught:
        yield caught
    assert time.monotonic() - began < LONGEST_SECONDS


@contextmanager
def frozen(server: RedisServer) -> Iterator[None]:
    """The server hangs: its port still takes connections and nothing answers."""
    with redis.Redis.from_url(server.url) as client:
        pid = client.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
