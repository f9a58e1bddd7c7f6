"""The first sentence of the dead letter pages: how many are open, and what of it is news."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Q, Sum

from bus.deadletterindex.index import Progress, progress_of
from bus.models import ErrorGroup, ErrorGroupPlace
from eventconsole.pages.dead_letters.cards import NEW_FOR
from eventconsole.pages.dead_letters.search import term

#: A monitor that hasn't looked for so long is late.
LATE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What there is. `news` are open error groups first seen lately, the largest first; `returned` came back lately."""

    total: int
    replaying: int
    kinds: int
    news: Sequence[ErrorGroup]
    returned: Sequence[ErrorGroup]
    latest: ErrorGroup | None
    topic: str
    index: Progress
    now: datetime

    @property
    def tone(self) -> str:
        """Calm when nothing is open, loud when there is news."""
        if self.is_late:
            return "warn"
        if not self.total:
            return "good"
        return "bad" if self.news or self.returned else "warn"

    @property
    def of_news(self) -> int:
        """How many open dead letters are news."""
        return sum(group.open for group in self.news)

    @property
    def first(self) -> ErrorGroup | None:
        """What to look at first."""
        return next(iter([*self.news, *self.returned]), self.latest)

    @property
    def link(self) -> str:
        """The filter of what to look at first."""
        return term("fingerprint", self.first.pk) if self.first is not None else ""

    @property
    def is_late(self) -> bool:
        """Whether nobody reads dead letters into the index: what is shown may be old."""
        seen = self.index.seen_at
        return seen is not None and (self.now - seen).total_seconds() > LATE_SECONDS


def answer_of(now: datetime) -> Answer:
    """Ask the counts: five queries, none of them over the dead letters."""
    has_open = ErrorGroup.objects.filter(open__gt=0)
    totals = ErrorGroup.objects.filter(Q(open__gt=0) | Q(replaying__gt=0)).aggregate(
        open=Sum("open"), replaying=Sum("replaying")
    )
    news = list(has_open.filter(first_seen_at__gte=now - NEW_FOR).order_by("-open", "pk")[:20])
    returned = list(
        has_open.filter(came_back_at__gte=now - NEW_FOR, first_seen_at__lt=now - NEW_FOR).order_by("-open", "pk")[:5]
    )
    latest = has_open.order_by("-last_seen_at").first()
    first = next(iter([*news, *returned]), latest)
    return Answer(
        total=totals["open"] or 0,
        replaying=totals["replaying"] or 0,
        kinds=has_open.count(),
        news=news,
        returned=returned,
        latest=latest,
        topic=_topic(first),
        index=progress_of(),
        now=now,
    )


def _topic(group: ErrorGroup | None) -> str:
    if group is None:
        return ""
    places = ErrorGroupPlace.objects.filter(fingerprint=group.pk, open__gt=0).order_by("-open", "topic")
    return next(iter(places.values_list("topic", flat=True)[:1]), "")
