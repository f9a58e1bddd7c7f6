"""The ledger: what became of each event lately. The only writer of event state in Redis.

Per event there is one publish record, and one record per consumer group that is deduplication, owner, attempt count and
status at once. Every change is one conditional step of `ledger.lua`, which names the cases:

| the group's record is   | a claim is told    | a settlement                                            |
|-------------------------|--------------------|---------------------------------------------------------|
| not there (or Redis lost it) | granted       | is written                                              |
| running, own lease      | granted            | is written                                              |
| running, own lapsed lease | granted          | is written                                              |
| running, foreign lease  | busy, ms left      | handled is written; anything else is lost               |
| running, lapsed foreign lease | granted, suspect | handled is written; anything else is lost           |
| waiting for its retry   | wait, ms left; granted when due | as for running                             |
| handled or dead letter  | done               | changes nothing                                         |

A lease belongs to a worker: one key per hash tag that holds the number of the worker's newest call. Calls carry
(worker, number); a call repeated after a lost answer changes nothing, an older one is refused.

All keys of one event carry the same hash tag, so that the ledger works on a Redis Cluster: there a batch is one
function call per hash tag in one pipeline, on a single Redis one call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bus import conf
from bus.errors import LedgerUnavailableError
from bus.ledger.functions import HASH_TAGS, Call, Functions, connect, hash_tag
from bus.ledger.records import (
    Answer,
    Attempt,
    Claim,
    EventStatus,
    GroupStatus,
    PublishRecord,
    Settlement,
    Status,
    Verdict,
    claim_answer,
    group_status,
    pack_publish,
    pack_settlement,
    publish_answer,
    publish_record,
)

__all__ = [
    "Answer",
    "Attempt",
    "Claim",
    "EventStatus",
    "GroupStatus",
    "Ledger",
    "PublishRecord",
    "Settlement",
    "Status",
    "Verdict",
    "connect",
]

MAX_CORRELATED = 100

#: Hash tags, settlements and claims with their positions in the caller's lists.
Part = tuple[list[str], list[tuple[int, Settlement]], list[tuple[int, Claim]]]


class Ledger:
    """Event state in Redis. Safe to use from several threads; a worker's `exchange` calls come from one.

    Every method raises LedgerUnavailableError when Redis can't be reached or doesn't do what is asked.
    """

    def __init__(self, client: Any = None, settings: conf.BusSettings | None = None) -> None:
        self.settings = settings or conf.current()
        self.client = connect(self.settings) if client is None else client
        self.prefix = self.settings.redis_prefix
        self._functions = Functions(self.client, self.settings.redis_url.rsplit("@", 1)[-1])
        self._active_ms = self.settings.failed_seconds * 1000
        self._done_ms = self.settings.dedup_seconds * 1000
        self._lease_ms = int(self.settings.lease_seconds * 1000)

    # -- publishing -------------------------------------------------------------------------------------------------

    def claim_publish(self, topic: str, event_ids: Sequence[str], token: str) -> list[PublishRecord | Exception | None]:
        """Reserve event ids for publishing on a topic, for long enough that the broker has answered.

        Per id: None when it is free, the record when it was published before, or PublishInFlightError or
        EventIdConflictError (not raised: the other events of a batch go on).
        """
        claim_ms = int((self.settings.publish_timeout + 30) * 1000)
        keys = [self._publish_key(each) for each in event_ids]
        answers = self._functions.per_item("claim_publish", keys, [()] * len(keys), claim_ms, token, topic)
        return [publish_answer(topic, each, answer) for each, answer in zip(event_ids, answers, strict=True)]

    def confirm_publish(self, published: Sequence[tuple[str, PublishRecord, str | None]]) -> None:
        """Note acknowledged events, given as (event id, record, correlation id). The first note of an event stands."""
        keys = [self._publish_key(event_id) for event_id, _, _ in published]
        records = [(pack_publish(record),) for _, record, _ in published]
        self._functions.per_item("confirm_publish", keys, records, self._done_ms)
        correlated = [(correlation, event_id) for event_id, _, correlation in published if correlation]
        self._functions.per_item(
            "correlate",
            [self._correlation_key(correlation) for correlation, _ in correlated],
            [(event_id,) for _, event_id in correlated],
            self._done_ms,
            MAX_CORRELATED,
        )

    def release_publish(self, event_ids: Sequence[str], token: str) -> None:
        """Give reserved ids free again: the event was refused, or nobody knows and a resend must be produced."""
        keys = [self._publish_key(each) for each in event_ids]
        self._functions.per_item("release_publish", keys, [()] * len(keys), token)

    # -- consuming --------------------------------------------------------------------------------------------------

    def exchange(
        self, worker: str, number: int, settlements: Sequence[Settlement], claims: Sequence[Claim]
    ) -> tuple[list[bool], list[Answer]]:
        """Settle what finished and claim what is about to run, in one round trip; both may be empty.

        `number` grows with every call of the worker; the same call may be repeated with the same number after a lost
        answer. Per settlement True when the outcome stands (False: another worker owns the event by now), per claim
        its answer. Renews the worker's lease.
        """
        parts = self._parts(settlements, claims)
        replies = self._functions.call([self._exchange_call(worker, number, *part) for part in parts])
        kept = [False] * len(settlements)
        answers: dict[int, Answer] = {}
        for (_, settled, claimed), reply in zip(parts, replies, strict=True):
            if reply[0] == b"STALE":
                raise LedgerUnavailableError(f"call {number} of worker {worker} is older than its newest one")
            for (index, _), letter in zip(settled, reply[0].decode(), strict=True):
                kept[index] = letter == "K"
            details = dict(zip(reply[2][::2], reply[2][1::2], strict=True))
            for at, ((index, _), letter) in enumerate(zip(claimed, reply[1].decode(), strict=True)):
                answers[index] = claim_answer(letter, number, details.get(at))
        return kept, [answers[index] for index in range(len(claims))]

    def heartbeat(self, worker: str, number: int) -> None:
        """Renew the worker's lease for all events it has."""
        tags: list[tuple[str, ...]] = [(tag,) for tag in HASH_TAGS] if self._functions.is_cluster else [HASH_TAGS]
        self._functions.call([self._exchange_call(worker, number, part, (), ()) for part in tags])

    def end_lease(self, worker: str) -> None:
        """Let what the worker still has be taken over at once: it stopped, or is known to be dead."""
        keys = [self._lease_key(tag, worker) for tag in HASH_TAGS]
        self._functions.guard(lambda: self.client.delete(*keys))

    # -- asking -----------------------------------------------------------------------------------------------------

    def status(self, event_id: str, groups: Iterable[str]) -> EventStatus | None:
        """What became of the event in these groups; None when nothing is known of it."""
        names = list(groups)
        keys = [self._publish_key(event_id), *(self._group_key(name, event_id) for name in names)]
        first, *values = self._functions.guard(lambda: self.client.mget(keys))
        published = publish_record(first)
        found = tuple(group_status(name, value) for name, value in zip(names, values, strict=True) if value)
        return EventStatus(event_id, published, found) if published or found else None

    def correlated(self, correlation_id: str) -> list[str]:
        """Ids of events published with this correlation id in the last hour, oldest first, 100 at most."""
        found = self._functions.guard(lambda: self.client.lrange(self._correlation_key(correlation_id), 0, -1))
        return list(dict.fromkeys(each.decode() for each in found))

    def ping(self) -> None:
        """Return when Redis answers."""
        self._functions.guard(self.client.ping)

    # -- keys and calls ---------------------------------------------------------------------------------------------

    def _publish_key(self, event_id: str) -> str:
        return f"{self.prefix}:{hash_tag(event_id)}:e:{event_id}"

    def _group_key(self, group: str, event_id: str) -> str:
        return f"{self.prefix}:{hash_tag(event_id)}:g:{group}:{event_id}"

    def _lease_key(self, tag: str, worker: str) -> str:
        return f"{self.prefix}:{tag}:w:{worker}"

    def _correlation_key(self, correlation_id: str) -> str:
        return f"{self.prefix}:{hash_tag(correlation_id)}:c:{correlation_id}"

    def _parts(self, settlements: Sequence[Settlement], claims: Sequence[Claim]) -> list[Part]:
        """What goes into one call each: everything, or on a cluster the events of one hash tag."""
        if not self._functions.is_cluster:
            tags = {hash_tag(each.event_id) for each in (*settlements, *claims)}
            return [(sorted(tags), list(enumerate(settlements)), list(enumerate(claims)))]
        parts: dict[str, Part] = {}
        for index, settlement in enumerate(settlements):
            tag = hash_tag(settlement.event_id)
            parts.setdefault(tag, ([tag], [], []))[1].append((index, settlement))
        for index, claim in enumerate(claims):
            tag = hash_tag(claim.event_id)
            parts.setdefault(tag, ([tag], [], []))[2].append((index, claim))
        return list(parts.values())

    def _exchange_call(
        self,
        worker: str,
        number: int,
        tags: Sequence[str],
        settlements: Sequence[tuple[int, Settlement]],
        claims: Sequence[tuple[int, Claim]],
    ) -> Call:
        keys = [self._lease_key(tag, worker) for tag in tags]
        arguments: list[Any] = [worker, number, self._lease_ms, self._active_ms, self._done_ms]
        arguments += [len(keys), len(settlements), len(claims)]
        for _, settlement in settlements:
            keys.append(self._group_key(settlement.group, settlement.event_id))
            arguments += pack_settlement(worker, settlement)
        for _, claim in claims:
            keys.append(self._group_key(claim.group, claim.event_id))
            arguments += (claim.generation, claim.topic, 1 if claim.alone else 0)
        return Call("exchange", keys, arguments)
