"""Samples as pages ask for them: one point for each step, and gaps that stay gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from bus.models import Sample

OUTCOMES: Final = "outcomes"
GROUP: Final = "group:"
TOPIC: Final = "topic:"
FINE_STEP: Final = 5
COARSE_STEP: Final = 60
STEPS: Final = (FINE_STEP, COARSE_STEP)
KEPT: Final = {FINE_STEP: timedelta(hours=1), COARSE_STEP: timedelta(hours=24)}
"""How long samples of each step are kept."""


class Point(NamedTuple):
    """One point of a chart: when it begins, and its values; none at all is a gap."""

    at: datetime
    values: Mapping[str, float]


def step_for(since: datetime, until: datetime) -> int:
    """The finest step that is kept for so long."""
    return FINE_STEP if until - since <= KEPT[FINE_STEP] else COARSE_STEP


def slot(at: datetime, step: int) -> datetime:
    """When the sample begins that `at` belongs to."""
    seconds = int(at.timestamp())
    return datetime.fromtimestamp(seconds - seconds % step, UTC)


def points(series: str, since: datetime, until: datetime, step: int | None = None) -> list[Point]:
    """The points that begin from `since` to before `until`, the oldest first; one for each step, gaps included."""
    return points_of([series], since, until, step)[series]


def points_of(
    series: Sequence[str], since: datetime, until: datetime, step: int | None = None
) -> dict[str, list[Point]]:
    """The same for several series, with the same times in each, in one query."""
    step = _allowed(step or step_for(since, until))
    first = slot(since, step)
    if first < since:
        first += timedelta(seconds=step)
    count = max(0, -int((first - until).total_seconds() // step))
    times = [first + timedelta(seconds=step * number) for number in range(count)]
    read = {*series, OUTCOMES} if any(name.startswith(TOPIC) for name in series) else set(series)
    rows = Sample.objects.filter(series__in=read, step=step, at__gte=first, at__lt=until)
    found: dict[str, dict[datetime, dict[str, Any]]] = {name: {} for name in [*series, OUTCOMES]}
    for name, at, values in rows.values_list("series", "at", "values"):
        found[name][at] = values
    return {
        name: [Point(at, found[name].get(at) or _silence(name, at in found[OUTCOMES])) for at in times]
        for name in series
    }


def newest(series: str) -> Point | None:
    """The newest point, or None. How old it is tells whether the monitor still writes."""
    row = Sample.objects.filter(series=series, step=FINE_STEP).order_by("-at").values_list("at", "values").first()
    return Point(*row) if row else None


def _silence(series: str, is_watched: bool) -> Mapping[str, float]:
    """A topic is written down only when something was published to it; `outcomes` tells whether anybody watched."""
    return {"published": 0.0} if is_watched and series.startswith(TOPIC) else {}


def _allowed(step: int) -> int:
    if step not in STEPS:
        raise ValueError(f"there are no samples of {step} s; allowed are {FINE_STEP} and {COARSE_STEP}")
    return step
