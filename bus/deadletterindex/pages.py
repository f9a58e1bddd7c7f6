"""Filters of dead letters and error groups, and lists cut into pages by key: any page costs what the first one does."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

import orjson
from django.db import connection
from django.db.models import Exists, F, Model, OuterRef, Q, QuerySet
from django.db.models.fields.tuple_lookups import TupleGreaterThan, TupleLessThan

from bus.deadletterindex.rows import MAX_KEY, short_id
from bus.models import DeadLetter, ErrorGroup, ErrorGroupPlace, LetterStatus

MAX_PAGE: Final = 500
_NEAR: Final = 2000
"""Dead letters that are looked through for a text first, from where the page begins."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Row = TypeVar("Row", bound=Model)


class CursorError(ValueError):
    """The cursor isn't one that a list of this kind gave out."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """A part of a list; `next` is the cursor of the part after it, None at the end."""

    rows: Sequence[Row]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which dead letters: all that fit everything given. Times are those of the last failure, `until` excluded.

    `topics`, when given, are the only ones that may be seen. Dead letters that failed again are left out: the newer
    ones stand for them.
    """

    topic: str | None = None
    group: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    fingerprint: str | None = None
    error_type: str | None = None
    key: str | None = None
    correlation_id: str | None = None
    reason: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    q: str | None = None
    topics: tuple[str, ...] | None = None

    def letters(self) -> QuerySet[DeadLetter]:
        """The dead letters, in no order."""
        exact = {name: getattr(self, name) for name in _EXACT if getattr(self, name) is not None}
        if "event_id" in exact:
            exact["event_id"] = short_id(exact["event_id"])
        if "key" in exact:
            exact["key"] = exact["key"][:MAX_KEY]
            exact["has_key"] = True
        found = DeadLetter.objects.filter(purged_at=None, **exact)
        if self.status is None:
            found = found.exclude(status=LetterStatus.SUPERSEDED)
        if self.since is not None:
            found = found.filter(last_failed_at__gte=self.since)
        if self.until is not None:
            found = found.filter(last_failed_at__lt=self.until)
        if self.q:
            found = found.filter(_about(self.q))
        if self.topics is not None:
            found = found.filter(topic__in=self.topics)
        return found

    def document(self) -> dict[str, Any]:
        """The filter as it is written down: what is given, as JSON takes it."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in given.items()
            if value is not None
        }


_EXACT: Final = (
    "topic",
    "group",
    "event_id",
    "event_type",
    "fingerprint",
    "error_type",
    "key",
    "correlation_id",
    "reason",
    "status",
)


def _about(text: str) -> Q:
    """Text anywhere in the error message, or an id or key that is exactly it."""
    return Q(error_message__icontains=text) | Q(event_id=short_id(text)) | Q(key=text) | Q(correlation_id=text)


def letter_page(
    wanted: LetterFilter, limit: int, cursor: str | None = None, *, oldest_first: bool = False
) -> Page[DeadLetter]:
    """A page of dead letters, the last failed first unless told otherwise. Raises CursorError."""
    order = ("last_failed_at", "id") if oldest_first else ("-last_failed_at", "-id")
    rows: list[DeadLetter] = []
    if wanted.q and _looks_near():
        all_near = _behind(replace(wanted, q=None).letters(), cursor, oldest_first).order_by(*order)
        near = list(all_near.values_list("pk", flat=True)[:_NEAR])
        found = DeadLetter.objects.filter(_about(wanted.q), pk__any_of=near)
        rows = list(found.order_by(*order)[: limit + 1])
    if len(rows) <= limit:
        rows = list(_behind(wanted.letters(), cursor, oldest_first).order_by(*order)[: limit + 1])
    return page_of(rows, limit, lambda row: (row.last_failed_at, row.pk))


def _looks_near() -> bool:
    """PostgreSQL takes every text for a rare one: of a common one it would sort all that have it.

    SQLite goes through the dead letters in their order anyway.
    """
    return connection.vendor == "postgresql"


def _behind(found: QuerySet[DeadLetter], cursor: str | None, oldest_first: bool) -> QuerySet[DeadLetter]:
    if cursor is None:
        return found
    at, pk = read_cursor(cursor, int)
    place = (F("last_failed_at"), F("id"))
    # The second condition follows from the first; it is what SQLite finds the place in the index by.
    if oldest_first:
        return found.filter(TupleGreaterThan(place, (at, pk)), last_failed_at__gte=at)
    return found.filter(TupleLessThan(place, (at, pk)), last_failed_at__lte=at)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFilter:
    """Which error groups: those with dead letters that fit. `new_since`: first seen then or later."""

    topic: str | None = None
    group: str | None = None
    error_type: str | None = None
    status: str | None = None
    new_since: datetime | None = None
    since: datetime | None = None
    q: str | None = None
    topics: tuple[str, ...] | None = None

    def groups(self) -> QuerySet[ErrorGroup]:
        """The groups, in no order."""
        found = ErrorGroup.objects.all()
        if self.error_type is not None:
            found = found.filter(error_type=self.error_type)
        if self.new_since is not None:
            found = found.filter(first_seen_at__gte=self.new_since)
        if self.since is not None:
            found = found.filter(last_seen_at__gte=self.since)
        if self.q:
            found = found.filter(Q(message__icontains=self.q) | Q(error_type__icontains=self.q))
        places = {name: getattr(self, name) for name in ("topic", "group") if getattr(self, name) is not None}
        counted = Q(**{f"{self.status}__gt": 0}) if self.status else not_empty()
        if places or self.topics is not None:
            inside = ErrorGroupPlace.objects.filter(counted, fingerprint=OuterRef("pk"), **places)
            if self.topics is not None:
                inside = inside.filter(topic__in=self.topics)
            return found.filter(Exists(inside))
        return found.filter(counted)


def not_empty() -> Q:
    """Groups and places that have dead letters of their own, not only such as failed again."""
    counted = Q()
    for status in LetterStatus.values:
        if status != LetterStatus.SUPERSEDED:
            counted |= Q(**{f"{status}__gt": 0})
    return counted


def group_page(wanted: GroupFilter, limit: int, cursor: str | None = None) -> Page[ErrorGroup]:
    """A page of error groups, the last seen first. Raises CursorError."""
    found = wanted.groups()
    if cursor is not None:
        at, fingerprint = read_cursor(cursor, str)
        found = found.filter(
            TupleLessThan((F("last_seen_at"), F("fingerprint")), (at, fingerprint)), last_seen_at__lte=at
        )
    rows = list(found.order_by("-last_seen_at", "-fingerprint")[: limit + 1])
    return page_of(rows, limit, lambda row: (row.last_seen_at, row.pk))


def page_of(rows: list[Row], limit: int, key: Callable[[Row], tuple[datetime, Any]]) -> Page[Row]:
    """A page of rows of which one more than `limit` was asked for; `key` is what the list is ordered by."""
    if len(rows) <= limit:
        return Page(rows, None)
    at, pk = key(rows[limit - 1])
    microseconds = (at - _EPOCH) // timedelta(microseconds=1)
    return Page(rows[:limit], urlsafe_b64encode(orjson.dumps([microseconds, pk])).decode().rstrip("="))


def read_cursor(cursor: str, kind: type) -> tuple[datetime, Any]:
    """Where the page before ended. Raises CursorError."""
    try:
        read = orjson.loads(urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
        microseconds, pk = read
        at = _EPOCH + timedelta(microseconds=microseconds)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        raise CursorError("the cursor isn't one that this list gave out") from None
    if not isinstance(pk, kind) or (isinstance(pk, int) and abs(pk) >= 2**63):
        raise CursorError("the cursor isn't one that this list gave out")
    return at, pk
