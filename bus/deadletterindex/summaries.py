"""Small answers about the index for badges, event pages and completion: from the counts, or by a key, never by a scan
of the dead letters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, cast

from django.db.models import Exists, OuterRef, QuerySet, Sum

from bus.deadletterindex.pages import GroupFilter, not_empty
from bus.deadletterindex.rows import short_id
from bus.models import DeadLetter, ErrorGroup, ErrorGroupPlace

MAX_OF_EVENT: Final = 200
MAX_VALUES: Final = 50

Topics = Sequence[str] | None
"""The only topics that may be seen; None for all."""


@dataclass(frozen=True, slots=True)
class OpenCounts:
    """How many dead letters are open: in all, by topic, by consumer group ("" for those that name none)."""

    total: int = 0
    by_topic: dict[str, int] = field(default_factory=dict)
    by_group: dict[str, int] = field(default_factory=dict)


def open_counts(topics: Topics = None) -> OpenCounts:
    """The open dead letters for badges: one query over the counts of the error groups."""
    by_topic: Counter[str] = Counter()
    by_group: Counter[str] = Counter()
    for topic, group, count in open_places(topics):
        by_topic[topic] += count
        by_group[group] += count
    return OpenCounts(by_topic.total(), dict(sorted(by_topic.items())), dict(sorted(by_group.items())))


def open_places(topics: Topics = None) -> Iterable[tuple[str, str, int]]:
    """Topic, consumer group, and how many of its dead letters are open there."""
    places = ErrorGroupPlace.objects.filter(open__gt=0)
    if topics is not None:
        places = places.filter(topic__in=topics)
    return places.order_by().values_list("topic", "group").annotate(Sum("open"))


def letters_of_event(event_id: str, topics: Topics = None) -> list[DeadLetter]:
    """Every dead letter that an event became, those that failed again included: by consumer group, then generation.

    The first 200; by a unique key, one query.
    """
    letters = DeadLetter.objects.filter(event_id=short_id(event_id))
    if topics is not None:
        letters = letters.filter(topic__in=topics)
    return list(letters.order_by("event_id", "group", "generation")[:MAX_OF_EVENT])


def new_groups(since: datetime, limit: int, topics: Topics = None) -> list[ErrorGroup]:
    """Error groups that were first seen then or later, the newest first."""
    wanted = GroupFilter(new_since=since, topics=None if topics is None else tuple(topics))
    return list(wanted.groups().order_by("-first_seen_at", "-fingerprint")[:limit])


def places_of(fingerprints: Sequence[str], topics: Topics = None) -> dict[str, list[ErrorGroupPlace]]:
    """The topics and consumer groups of these error groups with their counts, in one query."""
    found: dict[str, list[ErrorGroupPlace]] = {each: [] for each in fingerprints}
    places = ErrorGroupPlace.objects.filter(fingerprint__in=fingerprints)
    if topics is not None:
        places = places.filter(topic__in=topics)
    for place in places.order_by("topic", "group"):
        found[place.fingerprint].append(place)
    return found


class Completed(StrEnum):
    """What can be completed while somebody types."""

    TOPIC = "topic"
    GROUP = "group"
    ERROR_TYPE = "errorType"


def completions(of: Completed, typed: str = "", limit: int = 20, topics: Topics = None) -> list[str]:
    """Names in the index that have the typed text in them, in whatever case, in order; `limit` at most, up to 50."""
    places = ErrorGroupPlace.objects.filter(not_empty())
    if topics is not None:
        places = places.filter(topic__in=topics)
    name, found = of.value, cast(QuerySet[Any], places)
    if of is Completed.ERROR_TYPE:
        name = "error_type"
        found = ErrorGroup.objects.filter(Exists(places.filter(fingerprint=OuterRef("pk"))))
    found = found.exclude(**{name: ""}).filter(**{f"{name}__icontains": typed})
    return list(found.order_by(name).values_list(name, flat=True).distinct()[: max(0, min(limit, MAX_VALUES))])
