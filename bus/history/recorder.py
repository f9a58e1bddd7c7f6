"""Turns the activity stream, and what was sampled of Kafka, into samples for charts.

The entries of the stream have ascending ids, which are times of Redis. So the entries of five seconds are complete once
those seconds are over, and are written once, together with how far was read: whoever leads next goes on there. What
wasn't read is no zero: while Redis was away, or where the stream had dropped entries before they were read, there are
no samples, and when the monitor was away those that the stream still has are made up for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from django.db import transaction

from bus.activity import Activity
from bus.errors import BusError, LedgerUnavailableError
from bus.history.minutes import make_minutes, prune, save_samples, unmade
from bus.history.parts import Tally, values_of
from bus.history.reading import COARSE_STEP, FINE_STEP, GROUP, OUTCOMES, slot
from bus.models import RecordingPosition, Sample

log = logging.getLogger("bus.history")

NAME: Final = "activity"
GRACE_SECONDS: Final = 1.0
"""So much later a sample is written than its time is over: clocks differ a little."""
AT_ONCE: Final = 200
MOST_READS: Final = 50
"""Batches that one step reads at most."""
PRUNE_SECONDS: Final = 60.0
START: Final = "0-0"
_STEP: Final = timedelta(seconds=FINE_STEP)

Values = Mapping[str, Mapping[str, float]]


class Stream(Protocol):
    """Where activity is read: `bus.activity.ActivityStream`."""

    def latest_id(self) -> str: ...
    def read(self, after: str, count: int = 100, block_ms: int = 0) -> list[Activity]: ...


class RecordingTakenError(BusError):
    """Another process has recorded from the same place; what this one read is dropped."""


class Recorder:
    """Records with every `step`. Used by one thread; a second process does no harm.

    `gauges` tells, by series, what is true at this moment: lags, dead letters, workers.
    """

    def __init__(
        self,
        stream: Stream,
        gauges: Callable[[], Values],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._gauges = gauges
        self._now = now
        self._clock = clock
        self._saved: str | None = None  # how far is written
        self._read = START  # how far is read
        self._ahead: list[Activity] = []  # read, but of a time that isn't over
        self._tallies: dict[datetime, Tally] = {}
        self._watching_since = now()
        self._lost: tuple[datetime, datetime] | None = None
        self._lost_since: datetime | None = None
        self._next = slot(now(), FINE_STEP)  # the first time that isn't written
        self._minutes: set[datetime] | None = None  # that have samples and aren't made
        self._pruned_at = float("-inf")

    def step(self) -> bool:
        """Read on, and write what is complete; returns whether there is more to read at once.

        Raises Django's DatabaseError, and RecordingTakenError; call it again.
        """
        now = self._now()
        over = slot(now - timedelta(seconds=GRACE_SECONDS), FINE_STEP)
        is_behind = False
        try:
            if self._saved is None:
                self._open(now)
            is_behind = self._read_until(over)
            self._found(now)
        except LedgerUnavailableError as error:
            self._lose(error, now)
        if not is_behind and self._next < over:
            self._write(over, now)
        if self._clock() - self._pruned_at >= PRUNE_SECONDS:
            self._pruned_at = self._clock()
            prune(now)
        return is_behind

    # -- reading ----------------------------------------------------------------------------------------------------

    def _open(self, now: datetime) -> None:
        """Go on where the last process stopped, if the stream still has all that came after it."""
        position = RecordingPosition.objects.filter(pk=NAME).first()
        if position is None:
            position = RecordingPosition.objects.create(name=NAME, stream_id=START, read_at=now)
        saved = position.stream_id
        if _key(self._stream.latest_id()) < _key(saved):
            # Redis has begun anew, with a clock that was set back.
            self._lost = _time(saved), now
            saved = START
        elif saved != START and not self._is_there(saved):
            first = self._stream.read(saved, 1)
            self._lost = _time(saved), _time(first[0].id) if first else now
        self._saved = position.stream_id
        self._read = saved
        self._ahead, self._tallies = [], {}
        # What was before is written, or isn't known.
        self._watching_since, self._next = now, max(self._next, slot(now, FINE_STEP))

    def _is_there(self, entry_id: str) -> bool:
        """Whether the stream has that entry, and so everything after it: the oldest are dropped first."""
        found = self._stream.read(_before(entry_id), 1)
        return bool(found) and found[0].id == entry_id

    def _read_until(self, over: datetime) -> bool:
        """Count all entries from before `over`; returns whether there are more of them."""
        for _ in range(MOST_READS):
            entries, self._ahead = self._ahead, []
            is_last = not entries and len(entries := self._stream.read(self._read, AT_ONCE)) < AT_ONCE
            for number, entry in enumerate(entries):
                at = slot(_time(entry.id), FINE_STEP)
                if at >= over:
                    self._ahead = entries[number:]
                    return False
                self._tallies.setdefault(at, Tally()).add(entry)
                self._read = entry.id
            if is_last:
                return False
        return True

    def _lose(self, error: LedgerUnavailableError, now: datetime) -> None:
        if self._lost_since is None:
            log.info("recording_waits until Redis is back: %s", error)
            self._lost_since = min(now, self._next)

    def _found(self, now: datetime) -> None:
        if self._lost_since is not None:
            self._lost, self._lost_since = (self._lost_since, now), None
            self._watching_since = now

    # -- writing ----------------------------------------------------------------------------------------------------

    def _write(self, over: datetime, now: datetime) -> None:
        rows = self._samples(over)
        self._add_gauges(rows, over - _STEP)
        with transaction.atomic():
            if self._saved is not None:
                self._advance(now)
            save_samples(list(rows.values()))
            minutes = unmade() if self._minutes is None else self._minutes
            minutes |= {slot(at, COARSE_STEP) for at, _ in rows}
            made = make_minutes(minutes, over)
        if self._saved is not None:
            self._saved = self._read
        self._minutes = minutes - made
        self._next, self._tallies = over, {}
        if self._lost is not None and self._lost[1] < over:
            self._lost = None

    def _samples(self, over: datetime) -> dict[tuple[datetime, str], Sample]:
        """What the stream told of the times before `over`; nothing happened where it is known to have told nothing."""
        times, at = set(self._tallies), max(self._next, over - timedelta(hours=1))
        while at < over:
            if at >= self._watching_since and self._saved is not None:
                times.add(at)
            at += _STEP
        rows = self._written([each for each in times if each < self._next])
        for (at, series), row in rows.items():
            self._tallies[at].add_parts(series, row.parts)
        for at in sorted(times):
            if self._is_lost(at):
                continue
            for series, parts in self._tallies.get(at, Tally()).parts().items():
                row = rows.setdefault((at, series), Sample(series=series, step=FINE_STEP, at=at))
                row.values, row.parts = {**row.values, **values_of(series, parts, FINE_STEP)}, parts
        return rows

    def _written(self, times: Sequence[datetime]) -> dict[tuple[datetime, str], Sample]:
        """What is written already of times that entries are told of late, as a clock is ahead of another one."""
        rows = Sample.objects.filter(step=FINE_STEP, at__in=times) if times else ()
        return {(each.at, each.series): each for each in rows}

    def _add_gauges(self, rows: dict[tuple[datetime, str], Sample], at: datetime) -> None:
        for series, values in self._gauges().items():
            row = rows.setdefault((at, series), Sample(series=series, step=FINE_STEP, at=at))
            if series.startswith(GROUP) and not row.parts and (at, OUTCOMES) in rows:
                # Nothing happened in the group, or somebody would have told.
                row.parts = {"counts": {}}
                row.values = values_of(series, row.parts, FINE_STEP)
            row.values = {**row.values, **values}

    def _is_lost(self, at: datetime) -> bool:
        if self._lost_since is not None and at + _STEP > self._lost_since:
            return True
        return self._lost is not None and at + _STEP > self._lost[0] and at <= self._lost[1]

    def _advance(self, now: datetime) -> None:
        here = RecordingPosition.objects.filter(pk=NAME, stream_id=self._saved)
        if not here.update(stream_id=self._read, read_at=now):
            self._saved = None
            raise RecordingTakenError("the activity stream was recorded by another process")


def _key(entry_id: str) -> tuple[int, int]:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number or 0)


def _time(entry_id: str) -> datetime:
    return datetime.fromtimestamp(_key(entry_id)[0] / 1000, UTC)


def _before(entry_id: str) -> str:
    ms, number = _key(entry_id)
    return f"{ms}-{number - 1}" if number else f"{max(0, ms - 1)}-{2**64 - 1}"
