"""Error groups as cards: each tells how many, since when, where, and what was done about it. From counts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Case, IntegerField, QuerySet, Value, When

from bus.deadletterindex.summaries import places_of
from bus.deadletterindex.trends import Span, Trend, trends
from bus.models import ErrorGroup, ErrorGroupPlace, LetterStatus
from eventconsole.pages.dead_letters.search import Search, term
from eventconsole.pages.replays.operation import Operation, operations_by_fingerprint

#: How long an error is called new, and a return after a replay recent.
NEW_FOR: Final = timedelta(hours=1)
FEW: Final = 6
MANY: Final = 48
SORTS: Final = ("count", "first", "last")


@dataclass(frozen=True, slots=True)
class Card:
    """An error group in the light of a search: `count` are those of its status and places."""

    group: ErrorGroup
    places: Sequence[ErrorGroupPlace]
    count: int
    status: str
    trend: Trend
    is_new: bool
    came_back_lately: bool
    operation: Operation | None = None

    @property
    def title(self) -> str:
        """The type of the error, or what else can be said."""
        return self.group.error_type or "Error without a type"

    @property
    def topics(self) -> list[str]:
        """Topics in which there are some, those with the most first."""
        return self._most("topic")

    @property
    def groups(self) -> list[str]:
        """Consumer groups likewise; the empty name for those that name none."""
        return self._most("group")

    def _most(self, name: str) -> list[str]:
        counts: dict[str, int] = {}
        for place in self.places:
            counts[getattr(place, name)] = counts.get(getattr(place, name), 0) + count_of(place, self.status)
        return sorted((each for each in counts if counts[each]), key=lambda each: (-counts[each], each))

    @property
    def term(self) -> str:
        """The filter of this error group."""
        return term("fingerprint", self.group.pk)

    @property
    def replayed_percent(self) -> int:
        """Share of its dead letters that were replayed at least once; never 100 unless all were."""
        every = sum(getattr(self.group, status) for status in LetterStatus.values)
        return min(100, self.group.replayed * 100 // every) if every else 0

    @property
    def trend_label(self) -> str:
        """What the line says to who can't see it."""
        steps = "minute" if self.trend.step == timedelta(minutes=1) else "hour"
        span = "hour" if steps == "minute" else "day"
        return f"{self.trend.total:,} failures in the last {span}, at most {max(self.trend.counts):,} per {steps}"


@dataclass(frozen=True, slots=True)
class Cards:
    """The cards of a page; `total` error groups fit. `is_exact` is false where only the list can tell."""

    shown: Sequence[Card] = ()
    total: int = 0
    is_exact: bool = True
    sort: str = "count"
    start: int | None = None

    @property
    def next(self) -> int | None:
        """Where the cards after these start. There are few errors, so counting them off costs nothing."""
        end = (self.start or 0) + len(self.shown)
        return None if end >= self.total else 0 if self.start is None else end

    @property
    def hidden(self) -> int:
        """How many come after these."""
        return max(0, self.total - (self.start or 0) - len(self.shown))


def count_of(place: ErrorGroupPlace, status: str) -> int:
    """How many dead letters of a status there are in a place; of any status, those that a list shows."""
    if status != "any":
        return int(getattr(place, status))
    return place.open + place.replaying + place.resolved + place.discarded


def cards_of(search: Search, now: datetime, *, start: int | None = None, sort: str = "count") -> Cards:
    """The error groups that fit a search: by default those that are new first, and then the largest.

    A few of them; with `start` a page of more, from that one on.
    """
    wanted = search.groups
    if wanted is None:
        return Cards(is_exact=False)
    found = wanted.groups()
    if search.fingerprint is not None:
        found = found.filter(pk=search.fingerprint)
    begin, limit = start or 0, FEW if start is None else MANY
    rows = list(_sorted(found, search.status, sort, now)[begin : begin + limit])
    total = begin + len(rows) if 0 < len(rows) < limit else found.count()
    return Cards(build(rows, search, now), total, sort=sort, start=start)


def build(groups: Sequence[ErrorGroup], search: Search, now: datetime) -> list[Card]:
    """The cards of some error groups, with the counts of what the search asks for: four queries."""
    keys = [group.pk for group in groups]
    places = places_of(keys)
    hours, days = _trends(groups, now)
    running = operations_by_fingerprint(keys, now)
    cards = []
    for group in groups:
        some = [place for place in places[group.pk] if _fits(place, search)]
        cards.append(
            Card(
                group=group,
                places=some,
                count=sum(count_of(place, search.status) for place in some),
                status=search.status,
                trend=hours.get(group.pk) or days[group.pk],
                is_new=is_new(group, now),
                came_back_lately=group.came_back_at is not None and group.came_back_at >= now - NEW_FOR,
                operation=running.get(group.pk),
            )
        )
    return cards


def is_new(group: ErrorGroup, now: datetime) -> bool:
    """Whether its first failure is so recent that nobody may know it."""
    return group.first_seen_at >= now - NEW_FOR


def _trends(groups: Sequence[ErrorGroup], now: datetime) -> tuple[dict[str, Trend], dict[str, Trend]]:
    # Minutes for what began within the hour: in hours it would be a single step.
    young = [group.pk for group in groups if is_new(group, now)]
    older = [group.pk for group in groups if not is_new(group, now)]
    return trends(young, now, Span.HOUR), trends(older, now, Span.DAY)


def _fits(place: ErrorGroupPlace, search: Search) -> bool:
    topic, group = search.given.get("topic"), search.given.get("group")
    return topic in (None, place.topic) and group in (None, place.group)


def _sorted(found: QuerySet[ErrorGroup], status: str, sort: str, now: datetime) -> QuerySet[ErrorGroup]:
    if sort == "first":
        return found.order_by("-first_seen_at", "-fingerprint")
    if sort == "last":
        return found.order_by("-last_seen_at", "-fingerprint")
    newness = Case(When(first_seen_at__gte=now - NEW_FOR, then=Value(0)), default=Value(1), output_field=IntegerField())
    count = "-open" if status == "any" else f"-{status}"
    return found.order_by(newness, count, "-fingerprint")
