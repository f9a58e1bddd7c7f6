"""Which workers are alive, and what they do.

Each worker writes one entry into a hash in Redis every few seconds. The entry says nothing that a promise rests on: who
may work on what is decided by leases (see `bus.ledger`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from bus.ledger import Ledger
from bus.ledger.functions import Functions

# An entry whose worker was silent for so long says nothing any more; until then the console shows it as gone.
FORGET_AFTER_SECONDS = 3600.0

# A worker that missed so many signs of life is taken to be gone.
SILENT_AFTER_HEARTBEATS = 5


class Why(StrEnum):
    """Why a partition waits. Of several reasons the first in this order is told."""

    PAUSED = "paused"
    """Somebody paused the group, or this topic of it."""
    REDIS = "redis"
    """Redis is away."""
    DEAD_LETTER = "dead-letter"
    """A dead letter can't be written."""
    STUCK = "stuck"
    """A handler doesn't come back."""
    SLOW = "slow"
    """A handler is at work for seconds."""
    RETRY = "retry"
    """An attempt failed, and the next one isn't due yet."""
    OUTAGE = "outage"
    """A handler met Kafka, Redis or the database away; no attempt is counted."""
    ELSEWHERE = "elsewhere"
    """Another worker has the event, or died with it."""
    WINDOW = "window"
    """So many events are in hand that no more are read."""
    NO_WORKER = "no-worker"
    """No worker has the partition; a worker never says so itself."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a partition waits, and for which event. Times are ms since 1970; `error` is a type such as SmtpError."""

    why: str
    detail: str = ""
    until_ms: int | None = None
    since_ms: int | None = None
    event_id: str = ""
    key: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class GroupPresence:
    """What a worker does for one group. `partitions` maps `topic[partition]` to events in hand; rate per second.

    `oldest_ms` and `waits` are by partition, too: when the oldest event was written that is in hand and not settled,
    and why the partition waits. Those that have no such event, or don't wait, aren't named. `oldest_event` is the event
    that a handler has been working on for the longest time, `oldest_seconds`.
    """

    group: str
    partitions: dict[str, int]
    rate: float
    in_flight: int
    oldest_seconds: float
    stuck: int
    waits_for: str = ""
    oldest_event: str = ""
    oldest_topic: str = ""
    oldest_ms: dict[str, int] = field(default_factory=dict)
    waits: dict[str, Wait] = field(default_factory=dict)
    paused: tuple[str, ...] = ()
    """Topics that are paused; "" is the whole group."""


@dataclass(frozen=True, slots=True)
class WorkerPresence:
    """One worker's entry. Times are seconds since 1970; `boot` tells processes of one machine's one process table."""

    worker: str
    host: str
    pid: int
    boot: str
    version: str
    concurrency: int
    started_at: float
    seen_at: float
    state: str = "running"
    groups: tuple[GroupPresence, ...] = field(default=())


def new_worker_name(begin: str | None = None) -> str:
    """A name that no other worker has or ever had: host (or `begin`), process and a random part.

    A worker that got the name of one that died would be taken for it: nothing that it has would ever be suspect.
    """
    begin = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in begin or socket.gethostname())
    return f"{begin[:60]}-{os.getpid()}-{secrets.token_hex(3)}"


def process_table() -> str:
    """Names the table that this process's pid is a row of: the same pid elsewhere is another process."""
    parts = []
    for place in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with contextlib.suppress(OSError):
            path = Path(place)
            parts.append(os.readlink(path) if path.is_symlink() else path.read_text().strip())
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16] if len(parts) == 2 else ""


def code_version() -> str:
    """The release that runs."""
    try:
        return version("event-console")
    except PackageNotFoundError:
        return "source"


class Presence:
    """Reads and writes entries. Every method raises LedgerUnavailableError when Redis can't be reached."""

    def __init__(self, ledger: Ledger, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._guard = Functions(None, ledger.settings).guard
        self._wall_clock = wall_clock
        self._key = f"{ledger.prefix}:workers"

    def write(self, entry: WorkerPresence) -> None:
        """Say that the worker is alive."""
        self._guard(lambda: self._ledger.client.hset(self._key, entry.worker, orjson.dumps(asdict(entry))))

    def remove(self, worker: str) -> None:
        """The worker stopped in good order."""
        self._guard(lambda: self._ledger.client.hdel(self._key, worker))

    def all(self) -> list[WorkerPresence]:
        """All workers heard of within the hour, silent ones included; forgets older entries."""
        entries = self._guard(lambda: self._ledger.client.hgetall(self._key))
        oldest = self._wall_clock() - FORGET_AFTER_SECONDS
        found = [entry for value in entries.values() if (entry := _entry(value)) is not None]
        for entry in found:
            if entry.seen_at < oldest:
                self.remove(entry.worker)
        return sorted((entry for entry in found if entry.seen_at >= oldest), key=lambda entry: entry.worker)

    def alive(self) -> list[WorkerPresence]:
        """The workers that were heard of lately. Their clocks and this one are taken to agree within seconds."""
        oldest = self._wall_clock() - self._ledger.settings.heartbeat_interval * SILENT_AFTER_HEARTBEATS
        return [entry for entry in self.all() if entry.seen_at >= oldest]

    def bury_the_dead(self) -> list[str]:
        """End the leases of workers on this machine whose process is gone, and return their names.

        Their events needn't wait for the lease to lapse. Only processes of this very process table are judged: in
        another container the same pid is somebody else.
        """
        here, table = socket.gethostname(), process_table()
        gone = [
            entry
            for entry in self.all()
            if table and entry.boot == table and entry.host == here and not _is_running(entry.pid)
        ]
        for entry in gone:
            for group in entry.groups:
                self._ledger.end_lease(f"{entry.worker}/{group.group}")
            self.remove(entry.worker)
        return [entry.worker for entry in gone]


def _entry(stored: bytes) -> WorkerPresence | None:
    """None for what can't be read. Another release may say more than this one knows."""
    try:
        value = orjson.loads(stored)
        groups = tuple(_group(group) for group in value["groups"])
        entry = WorkerPresence(**{**_known(WorkerPresence, value), "groups": groups})
        return replace(entry, pid=int(entry.pid), seen_at=float(entry.seen_at))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _group(value: dict[str, Any]) -> GroupPresence:
    waits = {name: Wait(**_known(Wait, wait)) for name, wait in value.get("waits", {}).items()}
    paused = tuple(value.get("paused", ()))
    return GroupPresence(**{**_known(GroupPresence, value), "waits": waits, "paused": paused})


def _known(kind: type[GroupPresence | WorkerPresence | Wait], value: dict[str, Any]) -> dict[str, Any]:
    return {each.name: value[each.name] for each in fields(kind) if each.name in value}


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
