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

import orjson
from django.db.models import CharField, TextField
from django.db.models.functions import Cast

from bus import history
from bus.history import Point
from bus.models import Sample

_TABLE_ROWS = 24
_RATES = frozenset({"published", "processed", "retrying", "failed", "duplicate", "skipped"})
_KEPT = 300
_WHOLE_SECONDS = 90.0
# Samples that are no older may still be written, or change.
_AGAIN_SECONDS = {history.FINE_STEP: 60.0, history.COARSE_STEP: 240.0}
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
    """Buckets of samples by range and series, kept in this process: many look at the same charts each second.

    What is older than a moment is asked for again only once in a while: a monitor that was behind may fill a gap later.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], _Series] = {}

    def of(self, wanted: Range, series: Sequence[str], now: datetime) -> dict[str, list[Point]]:
        """Buckets of these series that something is known of, the oldest first. Raises Django's DatabaseError."""
        names = list(dict.fromkeys(series))
        with self._lock:
            if len(self._kept) > _KEPT:
                self._kept.clear()
            kept = {name: self._kept.setdefault((wanted.name, name), _Series()) for name in names}
        asked_at = self._clock()
        since = now - timedelta(minutes=wanted.minutes)
        whole = [name for name in names if asked_at - kept[name].whole_at > _WHOLE_SECONDS]
        fresh = min(wanted.step, 15) / 2
        new = [name for name in names if name not in whole and asked_at - kept[name].fresh_at > fresh]
        if whole:
            self._load(wanted, kept, whole, since)
            for name in whole:
                kept[name].whole_at = kept[name].fresh_at = asked_at
        if new:
            self._load(wanted, kept, new, max(since, now - timedelta(seconds=_AGAIN_SECONDS[wanted.step])))
            for name in new:
                kept[name].fresh_at = asked_at
        first = since.timestamp()
        return {name: kept[name].points(first) for name in names}

    def _load(self, wanted: Range, kept: dict[str, _Series], names: list[str], since: datetime) -> None:
        """Make the buckets of these series anew that begin at `since` or later."""
        first = since.timestamp() // wanted.bucket * wanted.bucket
        found: dict[str, dict[float, list[dict[str, float]]]] = {name: {} for name in names}
        # As text: making objects of thousands of times and documents takes longer than the question.
        rows = Sample.objects.filter(series__in=names, step=wanted.step, at__gte=datetime.fromtimestamp(first, UTC))
        texts = rows.annotate(at_text=Cast("at", CharField()), values_text=Cast("values", TextField()))
        for name, at_text, values_text in texts.values_list("series", "at_text", "values_text"):
            at = datetime.fromisoformat(at_text).replace(tzinfo=UTC).timestamp()
            found[name].setdefault(at // wanted.bucket * wanted.bucket, []).append(orjson.loads(values_text))
        for name, buckets in found.items():
            kept[name].replace(first, {at: _together(some) for at, some in buckets.items()})

    def forget(self) -> None:
        """For tests: what was kept belongs to another database."""
        with self._lock:
            self._kept.clear()


class _Series:
    """The buckets of one series. They are replaced, never changed: other threads read them."""

    def __init__(self) -> None:
        self.whole_at = self.fresh_at = float("-inf")
        self._buckets: dict[float, dict[str, float]] = {}

    def replace(self, first: float, buckets: dict[float, dict[str, float]]) -> None:
        """These are all that there are from `first` on; forgets what is older than a day."""
        oldest = first - 86_400
        before = {at: values for at, values in self._buckets.items() if oldest <= at < first}
        self._buckets = before | buckets

    def points(self, first: float) -> list[Point]:
        """From `first` on, the oldest first."""
        buckets = self._buckets
        return [Point(datetime.fromtimestamp(at, UTC), buckets[at]) for at in sorted(buckets) if at >= first]


def _together(samples: list[dict[str, float]]) -> dict[str, float]:
    """One bucket of some samples."""
    if len(samples) == 1:
        return samples[0]
    found: dict[str, list[float]] = {}
    for sample in samples:
        for key, value in sample.items():
            if value is not None:
                found.setdefault(key, []).append(value)
    return {key: sum(some) / len(some) if key in _RATES else max(some) for key, some in found.items()}


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
    first = now.timestamp() - wanted.minutes * 60
    at = first // wanted.bucket * wanted.bucket + wanted.bucket
    while at < end:
        starts.append(at)
        at += wanted.bucket
    columns = []
    for line in lines:
        values = {point.at.timestamp(): point.values.get(line.key) for point in known.get(line.series, ())}
        columns.append([None if (value := values.get(at)) is None else round(value, 2) for at in starts])
    return starts, columns


def _end(lines: Sequence[Line], known: Mapping[str, Sequence[Point]], wanted: Range, now: datetime) -> float:
    """Where the chart ends: at the newest sample if that is as new as can be expected, else now."""
    newest = max(
        (point.at.timestamp() for line in lines for point in known.get(line.series, ()) if line.key in point.values),
        default=0.0,
    )
    ends = newest + wanted.bucket
    is_current = now.timestamp() - ends <= _UNWRITTEN_SECONDS[wanted.step]
    return ends if is_current else now.timestamp()


def data(charts: Sequence[Chart]) -> dict[str, Any]:
    """What a room sends for `chart.js` to put in place."""
    return {"charts": {each.id: {"points": each.points, "series": each.options["series"]} for each in charts}}


def since(points: Sequence[Point], now: datetime, seconds: float) -> list[Point]:
    """Those that began within the last so many seconds."""
    first = now.timestamp() - seconds
    return [point for point in points if point.at.timestamp() >= first]


def latest(points: Sequence[Point], key: str, now: datetime, count: int = 3) -> float | None:
    """The average of the newest values of the last half minute; None when nothing is known of that time."""
    known = [value for point in since(points, now, 35) if (value := point.values.get(key)) is not None][-count:]
    return sum(known) / len(known) if known else None


def sparkline(points: Sequence[Point], key: str, bucket: int, seconds: int) -> list[float | None]:
    """The same points up to the newest known one, some of them to one, for a small line of so many seconds."""
    known: dict[int, list[float]] = {}
    for point in points:
        if (value := point.values.get(key)) is not None:
            known.setdefault(int(point.at.timestamp()) // bucket, []).append(value)
    if not known:
        return []
    last = max(known)
    slots = [known.get(slot) for slot in range(last - seconds // bucket + 1, last + 1)]
    return [None if some is None else (sum(some) / len(some) if key in _RATES else max(some)) for some in slots]
