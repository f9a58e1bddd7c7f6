"""What happens to events right now, one transition a row: filtered, paused, searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import path

from bus.activity import Transition
from bus.errors import LedgerUnavailableError
from eventconsole.filters import Filter, FilterProblem
from eventconsole.live import rooms
from eventconsole.live.rooms import Content, Room
from eventconsole.live.tail import SHOWN_AT_FIRST, language
from eventconsole.models import Scope
from eventconsole.pages.access import needs
from eventconsole.pages.completion import complete
from eventconsole.pages.events.finding import Finding, find
from eventconsole.pages.events.recent import last_minute, lately
from eventconsole.pages.events.rows import BLANK, row


@needs(Scope.READ)
def page(request: HttpRequest) -> HttpResponse:
    """The page. `?filter=` is kept in the address; `?search=` goes to an event that is called so."""
    text = request.GET.get("filter", "")
    finding: Finding | None = None
    if searched := request.GET.get("search", "").strip():
        finding = find(searched)
        if finding.url:
            return HttpResponseRedirect(finding.url)
        text = text or _as_filter(searched)
    context: dict[str, Any] = {"filter": text, "finding": finding, "room": {}, "blank": BLANK, **_counts()}
    try:
        wanted = language().parse(text)
        context["room"] = {"filter": text} if text else {}
        context["rows"] = _rows(wanted)
    except FilterProblem as problem:
        context |= {"problem": str(problem), "rows": []}
    except LedgerUnavailableError as error:
        context |= {"trouble": str(error), "rows": []}
    return render(request, "console/events/events.html", context)


def _as_filter(text: str) -> str:
    """The text as a filter that looks for it."""
    try:
        language().parse(text)
    except FilterProblem:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return text


def _rows(wanted: Filter[Transition]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for transition in lately.transitions():
        if wanted.matches(transition):
            found.append(row(transition))
            if len(found) == SHOWN_AT_FIRST:
                break
    return found


@needs(Scope.READ)
def search(request: HttpRequest) -> HttpResponse:
    """Where the event is that is called so, as JSON; without one, what was looked at."""
    text = request.GET.get("text", "")
    problem = ""
    try:
        if any(term.field for term in language().parse(text).terms):
            return JsonResponse({"isFilter": True})
    except FilterProblem as error:
        problem = str(error)  # unless it is an id: they may have colons and quotes
    finding = find(text)
    if problem and not (finding.url or finding.choices):
        return JsonResponse({"problem": problem})
    choices = [{"url": each.url, "eventId": each.event_id, "words": each.words} for each in finding.choices]
    return JsonResponse(
        {"url": finding.url, "choices": choices, "words": finding.words, "filter": _as_filter(text.strip())}
    )


@needs(Scope.READ)
def completions(request: HttpRequest) -> HttpResponse:
    """What could stand in the filter where the cursor is."""
    return complete(request, language(), _values)


def _values(field: str, begun: str) -> list[str]:
    try:
        return lately.values(field, begun)
    except LedgerUnavailableError:
        return []


def _counts() -> dict[str, Any]:
    return {"counts": last_minute()}


def live_minute(params: Mapping[str, str]) -> Content:
    """The counts of the last minute."""
    return Content(html=render_to_string("console/events/minute.html", _counts()))


rooms.add(Room("events-minute", scope=Scope.READ, seconds=2.0, render=live_minute))

urlpatterns = [
    path("events", page, name="events"),
    path("event-parts/search", search, name="event-search"),
    path("event-parts/completions", completions, name="event-completions"),
]
