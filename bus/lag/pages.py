"""Lists of consumer groups and topics, filtered, sorted and cut into pages by key: any page costs what the first does.

They come from what the monitor saw last, and carry nothing long: see `GroupState.LONG`.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson
from django.db.models import F, QuerySet
from django.db.models.expressions import Combinable, RawSQL
from django.db.models.fields.tuple_lookups import TupleGreaterThan, TupleLessThan
from django.db.models.functions import Coalesce

from bus.deadletterindex.pages import CursorError, Page
from bus.models import GroupState, TopicState
from bus.models.samples import UNKNOWN_TIME_LAG

MAX_PAGE: Final = 500
_REFUSED: Final = "the cursor isn't one that this list gave out"


class GroupSort(StrEnum):
    """What a list of groups is sorted by; equal ones by name."""

    NAME = "name"
    LAG = "lag"
    TIME_LAG = "time-lag"


class TopicSort(StrEnum):
    """What a list of topics is sorted by; equal ones by name."""

    NAME = "name"
    RECORDS = "records"
    RATE = "rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFilter:
    """Which groups: all that fit everything given. `q` is text in the name; `behind` leaves out those without lag."""

    q: str = ""
    is_ours: bool | None = None
    behind: bool = False

    def groups(self) -> QuerySet[GroupState]:
        """The groups, in no order, without what is long."""
        found = GroupState.objects.defer(*GroupState.LONG)
        if self.q:
            found = found.filter(name__icontains=self.q)
        if self.is_ours is not None:
            found = found.filter(is_ours=self.is_ours)
        if self.behind:
            found = found.filter(lag__gt=0)
        return found


def group_page(
    wanted: StateFilter,
    limit: int,
    cursor: str | None = None,
    *,
    sort: GroupSort = GroupSort.LAG,
    descending: bool = True,
) -> Page[GroupState]:
    """A page of groups. A group whose time lag is unknown is behind all others. Raises CursorError."""
    found = wanted.groups()
    value: Combinable = F("name") if sort is GroupSort.NAME else F("lag")
    if sort is GroupSort.TIME_LAG:
        # Written out: with a parameter it wouldn't be the expression of the index.
        value = Coalesce("time_lag_seconds", RawSQL(str(UNKNOWN_TIME_LAG), ()))
    found = found.annotate(sorted_by=value)
    if cursor is not None:
        place = _read_cursor(cursor, sort)
        beyond = TupleLessThan if descending else TupleGreaterThan
        first = "sorted_by__lte" if descending else "sorted_by__gte"
        # The first condition follows from the second; it is what SQLite finds the place in the index by.
        found = found.filter(beyond((F("sorted_by"), F("name")), place), **{first: place[0]})
    order = ("-sorted_by", "-name") if descending else ("sorted_by", "name")
    rows: list[Any] = list(found.order_by(*order)[: min(limit, MAX_PAGE) + 1])
    return _page(rows, min(limit, MAX_PAGE), lambda row: [sort, row.sorted_by, row.name])


def topic_page(
    kinds: Sequence[str],
    limit: int,
    cursor: str | None = None,
    *,
    q: str = "",
    names: Sequence[str] | None = None,
    sort: TopicSort = TopicSort.NAME,
    descending: bool = False,
) -> Page[TopicState]:
    """A page of topics of these kinds; `names`, when given, are the only ones. Raises CursorError."""
    found = TopicState.objects.defer("partitions").filter(kind__in=kinds)
    if q:
        found = found.filter(name__icontains=q)
    if names is not None:
        found = found.filter(name__in=names)
    if cursor is not None:
        beyond = TupleLessThan if descending else TupleGreaterThan
        found = found.filter(beyond((F(sort.value), F("name")), _read_cursor(cursor, sort)))
    sign = "-" if descending else ""
    rows: list[Any] = list(found.order_by(f"{sign}{sort}", f"{sign}name")[: min(limit, MAX_PAGE) + 1])
    return _page(rows, min(limit, MAX_PAGE), lambda row: [sort, getattr(row, sort.value), row.name])


def _page(rows: list[Any], limit: int, key: Any) -> Page[Any]:
    if len(rows) <= limit:
        return Page(rows, None)
    return Page(rows[:limit], urlsafe_b64encode(orjson.dumps(key(rows[limit - 1]))).decode().rstrip("="))


def _read_cursor(cursor: str, sort: GroupSort | TopicSort) -> tuple[Any, str]:
    try:
        its_sort, value, name = orjson.loads(urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, TypeError):
        raise CursorError(_REFUSED) from None
    fits = isinstance(value, str) if sort == GroupSort.NAME else type(value) in (int, float) and abs(value) < 2**63
    if its_sort != sort or not fits or not isinstance(name, str) or "\0" in name:
        raise CursorError(_REFUSED)
    return value, name
