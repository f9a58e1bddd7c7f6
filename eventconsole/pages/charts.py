"""Charts of what the monitor sampled: ranges, points, and the table behind each.

A chart has at most a few hundred points, whatever its range: several samples make one. Rates are averaged; of lags and
durations the largest counts, because that is what somebody looks for. What isn't known stays a gap.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bus import history
from bus.history import Point

_TABLE_ROWS = 24
# Samples are written a moment after they end: the newest ones, still unknown, are no gap.
_UNWRITTEN_SECONDS = {history.FINE_STEP: 20.0, history.COARSE_STEP: 130.0}


@dataclass(frozen=True, slots=True)
class Range:
    """What a chart spans. `step` is that of the samples, `bucket` that of the points: seconds."""

    name: str
    label: str
    minutes: int
    step: int
    bucket: int


RANGES = (
    Range("15m", "15 min", 15, history.FINE_STEP, 5),
    Range("1h", "1 h", 60, history.FINE_STEP, 15),
    Range("6h", "6 h", 360, history.COARSE_STEP, 60),
    Range("24h", "24 h", 1440, history.COARSE_STEP, 300),
)


def range_of(name: str | None) -> Range:
    """The range of that name, the first one for a name that there isn't."""
    return next((each for each in RANGES if each.name == name), RANGES[0])


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: value `key` of the samples of `series`, in a colour of the stylesheet."""

    label: str
    colour: str
    series: str
    key: str
    is_rate: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as its template and `chart.js` take it. `points` are columns: times in seconds, then one per line."""

    id: str
    title: str
    options: Mapping[str, Any]
    points: Sequence[Sequence[float | None]]
    empty: str = ""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table behind it: some points of the range, the newest first."""
        times = self.points[0]
        every = max(1, -(-len(times) // _TABLE_ROWS))
        return [
            {
                "at": datetime.fromtimestamp(times[index] or 0, UTC),
                "values": [column[index] for column in self.points[1:]],
            }
            for index in range(len(times) - 1, -1, -every)
        ]

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is known of that time."""
        return not any(value is not None for column in self.points[1:] for value in column)


class Samples:
    """Samples of a range by series, remembered for as long as no newer ones can be there: many may look at a page."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, kept: int = 200) -> None:
        self._clock = clock
        self._kept = kept
        self._lock = threading.Lock()
        self._known: dict[tuple[str, tuple[str, ...]], tuple[float, dict[str, list[Point]]]] = {}

    def of(self, wanted: Range, series: Sequence[str], now: datetime) -> dict[str, list[Point]]:
        """Points of these series, one per bucket of the range, the oldest first."""
        key = wanted.name, tuple(sorted(set(series)))
        with self._lock:
            at, found = self._known.get(key, (float("-inf"), {}))
        # What was asked for is at most as old as the time in which the next sample comes.
        if self._clock() - at < min(wanted.step, 15) / 2:
            return found
        asked_at = self._clock()
        found = history.points_of(list(key[1]), now - timedelta(minutes=wanted.minutes), now, wanted.step)
        with self._lock:
            if len(self._known) >= self._kept:
                self._known.clear()
            self._known[key] = asked_at, found
        return found

    def forget(self) -> None:
        """For tests: what was remembered belongs to another database."""
        with self._lock:
            self._known.clear()


samples = Samples()


def chart(
    name: str,
    title: str,
    lines: Sequence[Line],
    known: Mapping[str, Sequence[Point]],
    wanted: Range,
    now: datetime,
    *,
    unit: str = "",
    kind: str = "",
    stacked: bool = False,
    empty: str = "",
) -> Chart:
    """A chart of these lines. `kind` says how values are written: "" numbers, "seconds" or "ms" durations."""
    times, columns = _columns(lines, known, wanted, now)
    options = {
        "series": [{"label": line.label, "colour": line.colour} for line in lines],
        "stacked": stacked,
        "unit": unit,
        "kind": kind,
        "bucket": wanted.bucket,
    }
    return Chart(name, title, options, [times, *columns], empty)


def _columns(
    lines: Sequence[Line], known: Mapping[str, Sequence[Point]], wanted: Range, now: datetime
) -> tuple[list[float], list[list[float | None]]]:
    end = _end(lines, known, wanted, now)
    starts: list[float] = []
    columns: list[list[float | None]] = [[] for _ in lines]
    buckets = [_buckets(line, known.get(line.series, ()), wanted.bucket) for line in lines]
    first = now.timestamp() - wanted.minutes * 60
    at = first - first % wanted.bucket + wanted.bucket
    while at < end:
        starts.append(at)
        for column, bucket in zip(columns, buckets, strict=True):
            column.append(bucket.get(at))
        at += wanted.bucket
    return starts, columns


def _buckets(line: Line, points: Sequence[Point], seconds: int) -> dict[float, float | None]:
    values: dict[float, list[float]] = {}
    for point in points:
        if (value := point.values.get(line.key)) is not None:
            at = point.at.timestamp()
            values.setdefault(at - at % seconds, []).append(value)
    return {at: round(sum(some) / len(some) if line.is_rate else max(some), 2) for at, some in values.items()}


def _end(lines: Sequence[Line], known: Mapping[str, Sequence[Point]], wanted: Range, now: datetime) -> float:
    """Where the chart ends: at the newest sample if that is as new as can be expected, else now."""
    newest = max(
        (point.at.timestamp() for line in lines for point in known.get(line.series, ()) if line.key in point.values),
        default=0.0,
    )
    ends = newest + wanted.step
    is_current = now.timestamp() - ends <= _UNWRITTEN_SECONDS[wanted.step]
    return ends if is_current else now.timestamp()


def data(charts: Sequence[Chart]) -> dict[str, Any]:
    """What a room sends for `chart.js` to put in place."""
    return {"charts": {each.id: {"points": each.points, "series": each.options["series"]} for each in charts}}


def latest(points: Sequence[Point], key: str, count: int = 3) -> float | None:
    """The average of the newest known values among the last points; None when nothing is known of that time."""
    known = [point.values[key] for point in points[-2 * count :] if point.values.get(key) is not None][-count:]
    return sum(known) / len(known) if known else None


def sparkline(points: Sequence[Point], key: str, bucket: int, *, is_rate: bool = True) -> list[float | None]:
    """The same points, some of them to one, for a small line."""
    line = Line("", "", "", key, is_rate)
    found = _buckets(line, points, bucket)
    times = sorted({point.at.timestamp() - point.at.timestamp() % bucket for point in points})
    while times and times[-1] not in found:
        times.pop()
    return [found.get(at) for at in times]
