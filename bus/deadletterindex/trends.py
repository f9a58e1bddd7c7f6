"""Failures over time per error group, counted from the index in one query however many groups a page has.

Every failure counts, also one that was replayed, resolved or discarded since: this is how often something went wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final

from django.db import connection
from django.db.models import CharField, Count, F, Func, IntegerField

from bus.models import DeadLetter

MAX_GROUPS: Final = 200
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Span(Enum):
    """How far back, and in what steps: `(steps, length of one)`."""

    HOUR = (60, timedelta(minutes=1))
    DAY = (24, timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class Trend:
    """Failures per step from `start` on, the oldest first; the last step is the one that runs."""

    start: datetime
    step: timedelta
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """Failures of all steps."""
        return sum(self.counts)


def trends(
    fingerprints: Iterable[str], now: datetime, span: Span = Span.HOUR, topics: Sequence[str] | None = None
) -> dict[str, Trend]:
    """The trend of each of these error groups (200 at most), of `topics` alone when given; zeros where nothing failed.

    One query over an index that has all of it; its cost is that of the failures within the span.
    """
    wanted = list(dict.fromkeys(fingerprints))[:MAX_GROUPS]
    steps, step = span.value
    start = _EPOCH + (now - _EPOCH) // step * step - (steps - 1) * step
    counts: dict[str, list[int]] = defaultdict(lambda: [0] * steps)
    for fingerprint, bucket, count in _rows(wanted, start, start + steps * step, span, topics):
        counts[fingerprint][(_time(bucket, step) - start) // step] += count
    return {each: Trend(start, step, tuple(counts[each])) for each in wanted}


def _rows(
    wanted: Sequence[str], start: datetime, end: datetime, span: Span, topics: Sequence[str] | None
) -> Iterable[tuple[str, Any, int]]:
    if not wanted:
        return []
    found = DeadLetter.objects.filter(fingerprint__in=wanted, last_failed_at__gte=start, last_failed_at__lt=end)
    if topics is not None:
        found = found.filter(topic__in=topics)
    return found.order_by().values_list("fingerprint", _bucket(span)).annotate(count=Count("pk"))


def _bucket(span: Span) -> Func:
    """The step that a failure is in, without a call of Python per row, as Django's own would be on SQLite."""
    if connection.vendor == "postgresql":
        seconds = int(span.value[1].total_seconds())
        template = f"FLOOR(EXTRACT(EPOCH FROM %(expressions)s) / {seconds})::bigint"
        return Func(F("last_failed_at"), template=template, output_field=IntegerField())
    length = {Span.HOUR: len("2026-11-24 12:00"), Span.DAY: len("2026-11-24 12")}[span]
    return Func(F("last_failed_at"), template=f"SUBSTR(%(expressions)s, 1, {length})", output_field=CharField())


def _time(bucket: Any, step: timedelta) -> datetime:
    if isinstance(bucket, str):
        return datetime.fromisoformat(bucket).replace(tzinfo=UTC)
    return _EPOCH + int(bucket) * step
