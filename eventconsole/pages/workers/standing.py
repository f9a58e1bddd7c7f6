"""How workers stand: running, late, gone, or with a handler that doesn't come back. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bus.conf import BusSettings
from bus.presence import SILENT_AFTER_HEARTBEATS, GroupPresence, WorkerPresence

LATE_AFTER_BEATS: Final = 3
"""A worker that was silent for so many heartbeats is late; after a few more it is taken to be gone."""

GONE, STUCK, LATE, STOPPING, RUNNING = "gone", "stuck", "late", "stopping", "running"
_ORDER: Final = (GONE, STUCK, LATE, STOPPING, RUNNING)


@dataclass(frozen=True, slots=True)
class Standing:
    """A worker and how it stands. `silent_seconds` is how long ago it gave its last sign of life."""

    worker: WorkerPresence
    state: str
    silent_seconds: float

    @property
    def is_gone(self) -> bool:
        """Nobody hears of it any more: its partitions go to others, its events when its lease lapses."""
        return self.state == GONE

    @property
    def is_well(self) -> bool:
        """Nothing to look after."""
        return self.state in (RUNNING, STOPPING)

    @property
    def seen_at(self) -> float:
        """Its last sign of life, in ms since 1970."""
        return self.worker.seen_at * 1000

    @property
    def started_at(self) -> float:
        """When it started, in ms since 1970."""
        return self.worker.started_at * 1000

    @property
    def rate(self) -> float:
        """Events per second, as it said last."""
        return 0.0 if self.is_gone else sum(group.rate for group in self.worker.groups)

    @property
    def in_flight(self) -> int:
        """Events that handlers work on."""
        return sum(group.in_flight for group in self.worker.groups)

    @property
    def stuck(self) -> int:
        """Handlers that don't come back."""
        return sum(group.stuck for group in self.worker.groups)

    @property
    def oldest(self) -> GroupPresence | None:
        """The group whose event has been in a handler for the longest time."""
        busy = [group for group in self.worker.groups if group.in_flight]
        return max(busy, key=lambda group: group.oldest_seconds, default=None)

    @property
    def partition_count(self) -> int:
        """Partitions of all its groups."""
        return sum(len(group.partitions) for group in self.worker.groups)


def of(worker: WorkerPresence, now: float, settings: BusSettings) -> Standing:
    """How one worker stands at `now`, in seconds since 1970."""
    silent = max(0.0, now - worker.seen_at)
    if silent > SILENT_AFTER_HEARTBEATS * settings.heartbeat_interval:
        state = GONE
    elif any(group.stuck for group in worker.groups):
        state = STUCK
    elif silent > LATE_AFTER_BEATS * settings.heartbeat_interval:
        state = LATE
    else:
        state = RUNNING if worker.state == "running" else STOPPING
    return Standing(worker, state, silent)


def all_of(workers: Iterable[WorkerPresence], now: float, settings: BusSettings) -> list[Standing]:
    """All of them, those that need somebody first, then by name."""
    found = [of(worker, now, settings) for worker in workers]
    return sorted(found, key=lambda each: (_ORDER.index(each.state), each.worker.worker))


def versions(standings: Sequence[Standing]) -> list[tuple[str, int]]:
    """The versions that live workers run, with how many run each, the most frequent first."""
    counted = Counter(each.worker.version for each in standings if not each.is_gone)
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))
