"""What happened lately, for a page that opens: the newest transitions, and how many there were in the last minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bus.activity import ActivityStream, Outcome, Transition
from bus.history import FINE_STEP, points
from eventconsole.state import ledger

# Entries of the stream, of half a second and a process each; as many as the feed begins with.
_ENTRIES = 60
_FRESH_SECONDS = 1.0
_MOST_VALUES = 50
_STEPS = {"published": 0, "processing": 1}
MINUTE = timedelta(seconds=60)
_COUNTED = (Outcome.PUBLISHED, Outcome.PROCESSED, Outcome.RETRYING, Outcome.FAILED, Outcome.DUPLICATE, Outcome.SKIPPED)

#: Fields of the filter whose values are taken from what happened lately.
_FIELDS = {
    "source": "source",
    "key": "key",
    "user": "user_id",
    "correlation": "correlation_id",
    "event": "event_id",
    "worker": "worker",
}


class Lately:
    """The newest transitions, read at most once a second. Safe to use from several threads."""

    def __init__(
        self,
        read: Callable[[int], Iterable[Transition]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read or _read
        self._clock = clock
        self._lock = threading.Lock()
        self._found: list[Transition] = []
        self._read_at: float | None = None

    def transitions(self) -> list[Transition]:
        """The newest first. Raises LedgerUnavailableError."""
        with self._lock:
            if self._read_at is None or self._clock() - self._read_at >= _FRESH_SECONDS:
                # Entries of several processes come one after the other, whatever the time of what is in them.
                self._found = sorted(self._read(_ENTRIES), key=_order, reverse=True)
                self._read_at = self._clock()
            return self._found

    def values(self, field: str, begun: str) -> list[str]:
        """Values that the field had lately and that have `begun` in them, the newest first."""
        name = _FIELDS.get(field)
        if name is None:
            return []
        wanted = begun.lower()
        found: dict[str, None] = {}
        for transition in self.transitions():
            value = getattr(transition, name)
            if value and wanted in value.lower():
                found[value] = None
                if len(found) == _MOST_VALUES:
                    break
        return list(found)


def _order(transition: Transition) -> tuple[int, int]:
    """By time; within a millisecond an event is published before it begins, and begins before it ends."""
    return transition.at_ms, _STEPS.get(transition.outcome, 2)


def _read(count: int) -> Iterable[Transition]:
    for activity in ActivityStream(ledger()).recent(count):
        yield from activity.transitions


lately = Lately()


@dataclass(frozen=True, slots=True)
class Count:
    """How many transitions of one outcome the last minute had; None when nobody counted."""

    outcome: str
    count: int | None


def last_minute(now: datetime | None = None) -> list[Count]:
    """Counts of the last minute that the monitor has written, by outcome. One query."""
    until = now or datetime.now(UTC)
    # The newest sample is written when its five seconds are over.
    since = until - MINUTE - timedelta(seconds=FINE_STEP)
    found = [point.values for point in points("outcomes", since, until, FINE_STEP)]
    known = [values for values in found if values][-int(MINUTE.total_seconds() / FINE_STEP) :]
    if not known:
        return [Count(outcome.value, None) for outcome in _COUNTED]
    return [
        Count(outcome.value, round(sum(values.get(outcome.value, 0) for values in known) * FINE_STEP))
        for outcome in _COUNTED
    ]
