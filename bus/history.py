"""What charts show: samples of the last hour, one for each 5 s, and of the last day, one for each 60 s.

| series | values |
|---|---|
| `outcomes` | `published`, `processed`, `retrying`, `failed`, `duplicate`, `skipped`: events per second |
| `handling` | `p50`, `p95`: milliseconds that handlers took; nothing when none ran |
| `lag` | `total`: events of our own groups; `worstSeconds`: the largest time lag of them |
| `dead-letters` | `open`: dead letters; `new`: how many came in that time, not per second |
| `workers` | `count`: alive |
| `group:<name>` | `lag`, `timeLag`, `processed`, `retrying`, `failed`, `p50`, `p95`; our own groups only |
| `topic:<name>` | `published`: events per second; topics with events only |

A value that isn't known is missing, and so is a point of which nothing is known: nobody watched at the time, or what
was written then is lost. Zero means that nothing happened. In samples of a minute, lags are the largest of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from bus.models import Sample

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
    rows = Sample.objects.filter(series__in=series, step=step, at__gte=first, at__lt=until)
    found: dict[str, dict[datetime, dict[str, Any]]] = {name: {} for name in series}
    for name, at, values in rows.values_list("series", "at", "values"):
        found[name][at] = values
    return {name: [Point(at, known.get(at, {})) for at in times] for name, known in found.items()}


def newest(series: str) -> Point | None:
    """The newest point, or None. How old it is tells whether the monitor still writes."""
    row = Sample.objects.filter(series=series, step=FINE_STEP).order_by("-at").values_list("at", "values").first()
    return Point(*row) if row else None


def _allowed(step: int) -> int:
    if step not in STEPS:
        raise ValueError(f"there are no samples of {step} s; allowed are {FINE_STEP} and {COARSE_STEP}")
    return step
