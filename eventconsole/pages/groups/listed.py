"""The list of consumer groups: filtered, sorted and paged by the address. Rows change where they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import timezone
from pydantic import BaseModel, ConfigDict, model_validator

from bus import handlers
from bus.deadletterindex.pages import CursorError, Page
from bus.lag.pages import GroupSort, group_page
from bus.models import ClusterState, GroupState, TopicState
from eventconsole.filters import Filter, FilterProblem
from eventconsole.live import rooms
from eventconsole.live.rooms import Content, Room
from eventconsole.models import Scope
from eventconsole.pages import pauses
from eventconsole.pages.access import needs
from eventconsole.pages.completion import complete
from eventconsole.pages.groups.rows import Row, rows_of
from eventconsole.pages.groups.wanted import LANGUAGE, GroupFilter
from eventconsole.pages.listing import MAX_EXPORT, PAGE_ROWS, Sort, columns, export, sort_of, wants_export

DEFAULT_SORT: Final = "-time-lag"
_EXPORT_PAGE: Final = 500
_COMPLETED: Final = 20
_CHUNK: Final = 1900
_CHUNKS: Final = 16
_HEADS: Final = (
    ("group", "name"),
    ("state", ""),
    ("lag", "lag", "number"),
    ("behind", "time-lag", "number"),
    ("trend", ""),
    ("handled/s", "", "number"),
    ("drains in", "", "number"),
    ("members", "", "number"),
    ("topics", "", "number"),
    ("waits because", ""),
)


@needs(Scope.READ)
def page(request: HttpRequest) -> HttpResponse:
    """A page of groups, those that are longest behind first."""
    text = request.GET.get("filter", "").strip()
    parsed, problem = _parsed(text)
    sort = sort_of(request, [each.value for each in GroupSort], DEFAULT_SORT)
    wanted = GroupFilter(parsed=parsed)
    if kind := wants_export(request):
        return export(kind, "consumer-groups", _all(wanted, sort))
    found, cursor_problem = _page(wanted, sort, request.GET.get("cursor"))
    context = {
        **table(found.rows),
        "columns": columns(sort, *_HEADS),
        "next": found.next,
        "is_first": not request.GET.get("cursor"),
        "filter": text,
        "problem": problem or cursor_problem,
        "cluster": ClusterState.objects.first(),
        "room_params": names_as_params([group.name for group in found.rows]),
    }
    return render(request, "console/groups/list.html", context)


def table(groups: Sequence[GroupState]) -> dict[str, Any]:
    """The context of the rows."""
    return {"rows": rows_of(groups, handlers.registry.groups(), pauses.all_pauses()), "as_of": timezone.now()}


def names_as_params(names: Sequence[str]) -> dict[str, str]:
    """The groups of a page as parameters of its room, in the order in which they are shown.

    The room keeps them in their places, however their lags change: nothing moves under the hand.
    """
    chunks: list[list[str]] = [[]]
    for name in names:
        if len(json.dumps([*chunks[-1], name], ensure_ascii=False)) > _CHUNK:
            chunks.append([])
        chunks[-1].append(name)
    return {f"n{index}": json.dumps(chunk, ensure_ascii=False) for index, chunk in enumerate(chunks[:_CHUNKS])}


def names_of(params: Mapping[str, str]) -> list[str]:
    """The names in such parameters. Raises ValueError for anything else."""
    names: list[str] = []
    for index in range(_CHUNKS):
        chunk = json.loads(params.get(f"n{index}") or "[]")
        if not isinstance(chunk, list) or not all(isinstance(name, str) for name in chunk):
            raise ValueError(f"n{index}: a JSON list of names of groups is allowed")
        names += chunk
    if len(names) > PAGE_ROWS:
        raise ValueError(f"{len(names)} names of groups; allowed are {PAGE_ROWS}")
    return names


def live_rows(names: Sequence[str]) -> str:
    """The rows of these groups as they are now, in this order; those that are gone are left out."""
    found = GroupState.objects.defer(*GroupState.LONG).in_bulk(list(names))
    groups = [found[name] for name in names if name in found]
    return render_to_string("console/groups/rows.html", table(groups))


class RowsParams(BaseModel):
    """The groups of the page: `n0`, `n1` and so on, each a JSON list of names."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _are_names(cls, given: Any) -> Any:
        unknown = sorted(set(given) - {f"n{index}" for index in range(_CHUNKS)})
        if unknown:
            raise ValueError(f"there is no parameter {unknown[0]:.40}; allowed are n0 to n{_CHUNKS - 1}")
        names_of(given)
        return given


def render_room(params: Mapping[str, str]) -> Content:
    """The rows of one page."""
    return Content(html=live_rows(names_of(params)))


rooms.add(Room("groups", scope=Scope.READ, seconds=2.0, render=render_room, params=RowsParams))


@needs(Scope.READ)
def completions(request: HttpRequest) -> HttpResponse:
    """What the filter could go on with."""
    return complete(request, LANGUAGE, _values)


def _values(field: str, beginning: str) -> list[str]:
    if field == "group":
        found = GroupState.objects.filter(name__icontains=beginning).order_by("name")
        return list(found.values_list("name", flat=True)[:_COMPLETED])
    if field == "topic":
        topics = TopicState.objects.filter(name__icontains=beginning).order_by("name")
        return list(topics.values_list("name", flat=True)[:_COMPLETED])
    return ["stable", "empty", "dead"] if field == "state" else []


def _parsed(text: str) -> tuple[Filter[GroupState], str]:
    try:
        return LANGUAGE.parse(text), ""
    except FilterProblem as error:
        return LANGUAGE.parse(""), f"{error} Until that is mended, all groups are shown."


def _page(wanted: GroupFilter, sort: Sort, cursor: str | None) -> tuple[Page[GroupState], str]:
    by = GroupSort(sort.name)
    try:
        return group_page(wanted, PAGE_ROWS, cursor or None, sort=by, descending=sort.descending), ""
    except CursorError as error:
        first = group_page(wanted, PAGE_ROWS, sort=by, descending=sort.descending)
        return first, f"{error}; this is the first page"


def _all(wanted: GroupFilter, sort: Sort) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    for _ in range(MAX_EXPORT // _EXPORT_PAGE):
        found = group_page(wanted, _EXPORT_PAGE, cursor, sort=GroupSort(sort.name), descending=sort.descending)
        for row in rows_of(found.rows, handlers.registry.groups(), ()):
            yield document(row)
        cursor = found.next
        if cursor is None:
            return


def document(row: Row) -> dict[str, Any]:
    """A group as an export has it."""
    group = row.group
    return {
        "group": group.name,
        "ours": group.is_ours,
        "state": group.state,
        "lag": group.lag,
        "timeLagSeconds": group.time_lag_seconds,
        "trend": group.trend,
        "handledPerSecond": group.rate,
        "arrivingPerSecond": group.arriving,
        "drainSeconds": group.drain_seconds,
        "members": group.members,
        "workers": group.workers,
        "partitions": group.partition_count,
        "topics": group.topics,
        "waitsBecause": group.reason,
        "sampledAt": group.sampled_at.isoformat(timespec="milliseconds"),
    }
