"""Minutes out of samples of five seconds, and what is too old to be kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

from bus.history.parts import Kept, minute_of
from bus.history.reading import COARSE_STEP, FINE_STEP, KEPT, OUTCOMES, STEPS, slot
from bus.models import Sample

_MINUTE: Final = timedelta(seconds=COARSE_STEP)


def unmade() -> set[datetime]:
    """Minutes after the newest one of which there are samples."""
    last = Sample.objects.filter(step=COARSE_STEP).order_by("-at").values_list("at", flat=True).first()
    fine = Sample.objects.filter(step=FINE_STEP)
    if last is not None:
        fine = fine.filter(at__gte=last + _MINUTE)
    return {slot(at, COARSE_STEP) for at in fine.values_list("at", flat=True).distinct()}


def make_minutes(minutes: Collection[datetime], over: datetime) -> set[datetime]:
    """Make those of these minutes that are over, and return them; belongs into the transaction of their samples."""
    made = {each for each in minutes if each + _MINUTE <= over}
    for minute in sorted(made):
        rows = Sample.objects.filter(step=FINE_STEP, at__gte=minute, at__lt=minute + _MINUTE).order_by("at")
        samples: dict[str, list[Kept]] = {}
        for series, values, parts in rows.values_list("series", "values", "parts"):
            samples.setdefault(series, []).append((values, parts))
        seconds = FINE_STEP * sum("counts" in parts for _, parts in samples.get(OUTCOMES, ()))
        save_samples(
            [
                Sample(series=name, step=COARSE_STEP, at=minute, values=minute_of(name, its, seconds))
                for name, its in samples.items()
            ]
        )
    return made


def save_samples(rows: Sequence[Sample]) -> None:
    """Write samples, or anew those that are there."""
    Sample.objects.bulk_create(
        rows,
        batch_size=200,
        update_conflicts=True,
        update_fields=["values", "parts"],
        unique_fields=["series", "step", "at"],
    )


def prune(now: datetime) -> None:
    """Delete samples that are too old."""
    for step in STEPS:
        Sample.objects.filter(step=step, at__lt=now - KEPT[step]).delete()
