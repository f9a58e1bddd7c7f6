"""The small chart of a row: the last quarter of an hour, kept in the row itself. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

STEP_SECONDS: Final = 15
MOST_POINTS: Final = 60


def moved_on(
    points: list[Any], newest_at: datetime | None, now: datetime, value: float, *, repeat: bool = False
) -> tuple[list[Any], datetime]:
    """The points with one more if a step has passed since the newest, and when the newest then is.

    Steps that nobody looked at are None; with `repeat` what was known before, for what is looked at less often.
    """
    if newest_at is None or newest_at > now or not points:
        return [value], now
    steps = int((now - newest_at).total_seconds() // STEP_SECONDS)
    if steps == 0:
        return points, newest_at
    missed = [points[-1] if repeat else None] * min(steps - 1, MOST_POINTS)
    return [*points, *missed, value][-MOST_POINTS:], newest_at + timedelta(seconds=steps * STEP_SECONDS)
