"""What happened in five seconds, counted from the activity stream, and minutes made of such samples. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bus.activity import Activity, Outcome, quantile
from bus.history.reading import GROUP, OUTCOMES, TOPIC

HANDLING: Final = "handling"
COUNTED: Final = (
    Outcome.PUBLISHED,
    Outcome.PROCESSED,
    Outcome.RETRYING,
    Outcome.FAILED,
    Outcome.DUPLICATE,
    Outcome.SKIPPED,
)
MOST_SERIES: Final = 2000
"""Topics and groups of which samples are written, whatever the stream says."""
_DECIMALS: Final = 4
# What a minute has of the values of its samples; others are those of the last one.
_LARGEST: Final = frozenset({"lag", "timeLag", "total", "worstSeconds"})
_SUMS: Final = frozenset({"new"})
_MADE_ANEW: Final = frozenset({*map(str, COUNTED), "p50", "p95"})

Kept = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Values and parts of a sample."""


class Tally:
    """What happened in the time of one sample, by series."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {OUTCOMES: Counter()}
        self.durations: dict[str, Counter[int]] = {}

    def add(self, activity: Activity) -> None:
        """Count what an entry of the stream tells."""
        for topic, group, outcome, count in activity.counts:
            if outcome not in COUNTED:
                continue
            self._count(OUTCOMES, outcome, count)
            if outcome == Outcome.PUBLISHED:
                self._count(TOPIC + topic, outcome, count)
            elif group:
                self._count(GROUP + group, outcome, count)
        for _, group, buckets in activity.durations:
            for series in (HANDLING, GROUP + group):
                if series in self.durations or len(self.durations) < MOST_SERIES:
                    self.durations.setdefault(series, Counter()).update(buckets)

    def add_parts(self, series: str, parts: Mapping[str, Any]) -> None:
        """Count what is written down already."""
        if "counts" in parts:
            self.counts.setdefault(series, Counter()).update(parts["counts"])
        if "durations" in parts:
            buckets = {int(bucket): count for bucket, count in parts["durations"].items()}
            self.durations.setdefault(series, Counter()).update(buckets)

    def _count(self, series: str, outcome: str, count: int) -> None:
        if series in self.counts or len(self.counts) < MOST_SERIES:
            self.counts.setdefault(series, Counter())[str(outcome)] += count

    def parts(self) -> dict[str, dict[str, Any]]:
        """By series, what is kept of it as `Sample.parts`."""
        found: dict[str, dict[str, Any]] = {}
        for series, counts in self.counts.items():
            found.setdefault(series, {})["counts"] = dict(counts)
        for series, durations in self.durations.items():
            found.setdefault(series, {})["durations"] = {str(bucket): count for bucket, count in durations.items()}
        return found


def values_of(series: str, parts: Mapping[str, Any], seconds: float) -> dict[str, float]:
    """What a chart shows of that many seconds."""
    values: dict[str, float] = {}
    if "counts" in parts and seconds > 0:
        values = {name: round(parts["counts"].get(name, 0) / seconds, _DECIMALS) for name in _outcomes(series)}
    buckets = {int(bucket): count for bucket, count in parts.get("durations", {}).items()}
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        if (found := quantile(buckets, share)) is not None:
            values[name] = round(found, 1)
    return values


def minute_of(series: str, samples: Sequence[Kept], seconds: int) -> dict[str, Any]:
    """The values of a minute from its samples, in order.

    `seconds` are those of the minute of which somebody knows what happened.
    """
    whole = values_of(series, _sum(parts for _, parts in samples), seconds)
    for values, _ in samples:
        for name, value in values.items():
            if name in _MADE_ANEW:
                continue
            if name in _LARGEST:
                whole[name] = max(whole.get(name, value), value)
            elif name in _SUMS:
                whole[name] = whole.get(name, 0) + value
            else:
                whole[name] = value
    return whole


def _sum(all_parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Counter[str]] = {}
    for parts in all_parts:
        for kind, numbers in parts.items():
            found.setdefault(kind, Counter()).update(numbers)
    return dict(found)


def _outcomes(series: str) -> Sequence[str]:
    if series.startswith(TOPIC):
        return COUNTED[:1]
    return COUNTED if series == OUTCOMES else COUNTED[1:]
