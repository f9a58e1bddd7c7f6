"""One event from its publishing to its end: what each group made of it, attempt by attempt, while you watch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import path
from pydantic import BaseModel, ConfigDict

from bus.activity import Transition
from bus.envelope import MAX_EVENT_ID
from bus.errors import LedgerUnavailableError
from bus.models import DeadLetter
from eventconsole.live import rooms
from eventconsole.live.rooms import Content, Room
from eventconsole.models import Scope
from eventconsole.pages.access import needs, problem
from eventconsole.pages.event import contents
from eventconsole.pages.event.story import Story, story_of
from eventconsole.pages.event.timeline import timeline_of
from eventconsole.places import RecordPlace, read_place
from eventconsole.state import ledger_hours


def _now_ms() -> int:
    return int(time.time() * 1000)


@needs(Scope.READ)
def page(request: HttpRequest, event_id: str = "") -> HttpResponse:
    """The page. `?at=topic/partition/offset` says where its record is, for when Redis has forgotten it."""
    event_id = event_id or request.GET.get("id", "")
    if not event_id or len(event_id) > MAX_EVENT_ID or not event_id.isprintable():
        return problem(
            request,
            404,
            "Event",
            f"That can't be the id of an event: allowed are 1 to {MAX_EVENT_ID} printable characters.",
            "Look for it by its correlation id, or by topic/partition/offset, in the field of the events page.",
            ("/events", "To the events"),
        )
    hint = read_place(request.GET.get("at", ""))
    story = story_of(event_id, _now_ms())
    room = {"id": event_id, **({"at": hint.path} if hint else {})}
    context = {**_context(story, hint), "room": room, "source": _source(story, hint)}
    return render(request, "console/event/event.html", context)


def _context(story: Story, hint: RecordPlace | None) -> dict[str, Any]:
    return {"story": story, "kept": ledger_hours(), "topic": story.topic or (hint.topic if hint else ""), "hint": hint}


def _source(story: Story, hint: RecordPlace | None) -> dict[str, str] | None:
    """Where its record can be read, if anywhere."""
    place = read_place(story.place) or hint
    if place is None and not story.letters:
        return None
    given = {"event": story.event_id, **({"at": place.path} if place else {})}
    words = str(place) if place else "its dead letter"
    return {"url": f"/event-parts/record?{urlencode(given)}", "words": words, "at": place.path if place else ""}


@needs(Scope.READ)
def record(request: HttpRequest) -> HttpResponse:
    """The event's record, as a part of its page: read from Kafka, which may take seconds."""
    event_id = request.GET.get("event", "")
    found = contents.contents_of(event_id, read_place(request.GET.get("at", "")))
    context: dict[str, Any] = {}
    if isinstance(found, contents.Trouble):
        context = {"trouble": found, "again": f"/event-parts/record?{request.GET.urlencode()}"}
        letter = DeadLetter.objects.filter(event_id=event_id).exclude(correlation_id="").first()
        correlation = letter.correlation_id if letter else ""
    else:
        shown = contents.shown(found, event_id)
        context = {"record": shown}
        correlation = shown.correlation_id
    if correlation:
        given = {"event": event_id, "correlation": correlation}
        context["correlated"] = f"/event-parts/correlated?{urlencode(given)}"
    return render(request, "console/event/record.html", context)


@needs(Scope.READ)
def value(request: HttpRequest) -> HttpResponse:
    """The whole value of a record as text: at a place in Kafka, or of a dead letter."""
    letter_id = request.GET.get("letter", "")
    if letter_id.isdecimal() and len(letter_id) < 19:
        letter = DeadLetter.objects.filter(pk=int(letter_id)).first()
        found = contents.contents_of_letter(letter) if letter else contents.Trouble("There is no such dead letter.", "")
    else:
        found = contents.contents_of("", read_place(request.GET.get("at", "")))
    if isinstance(found, contents.Trouble):
        return HttpResponse(f"{found.heading} {found.remedy}".strip(), status=503 if found.may_try_again else 404)
    text, _ = contents.text_of(found.value)
    return HttpResponse(
        text or "", content_type="text/plain; charset=utf-8", headers={"X-Content-Type-Options": "nosniff"}
    )


@needs(Scope.READ)
def correlated(request: HttpRequest) -> HttpResponse:
    """The events of the same correlation id, as a part of the page."""
    correlation, event_id = request.GET.get("correlation", "")[:200], request.GET.get("event", "")
    context: dict[str, Any] = {
        "correlation": correlation,
        "quoted": f'"{correlation}"' if set(correlation) & set(' ,:*"') else correlation,
        "again": f"/event-parts/correlated?{request.GET.urlencode()}",
    }
    try:
        context["timeline"] = timeline_of(correlation, event_id, _now_ms())
    except LedgerUnavailableError as error:
        context["trouble"] = str(error)
    return render(request, "console/event/correlated.html", context)


class EventParams(BaseModel):
    """The parameters of the room."""

    model_config = ConfigDict(extra="forbid")

    id: str
    at: str | None = None


def live(params: Mapping[str, str]) -> Content:
    """What moves on the page: the ledger is read each second. Raises LedgerUnavailableError: what was shown stays."""
    story = story_of(params["id"], _now_ms())
    if not story.knows_redis:
        raise LedgerUnavailableError("; ".join(story.problems))
    context = _context(story, read_place(params.get("at", "")))
    return Content(
        html=[render_to_string(f"console/event/{name}.html", context) for name in ("story", "past")],
    )


def concerns(params: Mapping[str, str], transition: Transition) -> bool:
    """Whether something happened to the page's event: then it is read at once."""
    return transition.event_id == params["id"]


rooms.add(Room("event", scope=Scope.READ, seconds=1.0, render=live, params=EventParams, wakes=concerns))

urlpatterns = [
    path("events/", page, name="event-by-query"),
    path("event-parts/record", record, name="event-record"),
    path("event-parts/value", value, name="event-value"),
    path("event-parts/correlated", correlated, name="event-correlated"),
    path("events/<path:event_id>", page, name="event"),
]
