"""Publishing one event by hand: checked while it is written, sent over the API, and then watched on its page."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_POST

from bus import catalog
from bus.catalog import Priority, Topic
from bus.envelope import decode
from bus.errors import EnvelopeError, LedgerUnavailableError
from bus.models import DeadLetter
from eventconsole import conf
from eventconsole.models import Scope
from eventconsole.pages.access import needs
from eventconsole.pages.event import contents
from eventconsole.pages.publish.check import check as checked
from eventconsole.pages.publish.schema import example_of, rows_of, schema_of
from eventconsole.places import read_place
from eventconsole.state import ledger

#: A copy is edited in a browser: what is larger belongs to a program.
MOST_COPIED = 1_000_000
#: What `data.simulate` makes the demo's handlers do.
_SIMULATIONS = (("fail:2", "twice"), ("fail", "always"), ("permanent", "for good"), ("slow:3", "take 3 s"), ("", "not"))


@needs(Scope.READ)
def page(request: HttpRequest) -> HttpResponse:
    """The page. `?copy=` an eventId, or `?letter=` a dead letter, fills it in."""
    topics = catalog.topics()
    chosen = topics.get(request.GET.get("topic", "")) or next(iter(topics.values()), None)
    given = {name: request.GET[name] for name in ("copy", "at", "letter") if request.GET.get(name)}
    context = {
        "by_domain": _by_domain(topics.values()),
        "topic": chosen,
        "priorities": list(Priority),
        "copied": given if "copy" in given or "letter" in given else None,
        "with_demo": conf.current().with_demo,
        "simulations": _SIMULATIONS,
        **(_about(chosen) if chosen else {}),
    }
    return render(request, "console/publish/publish.html", context)


@needs(Scope.READ)
def schema(request: HttpRequest) -> HttpResponse:
    """What the topic's events say, as a part of the page."""
    topic = catalog.topic(request.GET.get("topic", ""))
    context = {"topic": topic, **(_about(topic) if topic else {})}
    return render(request, "console/publish/schema.html", context)


@require_POST
@needs(Scope.READ)
def check(request: HttpRequest) -> HttpResponse:
    """What is wrong with an event, or what would be sent. Nothing is."""
    return JsonResponse(checked(request.body, request.user.get_username()))


@needs(Scope.READ)
def copied(request: HttpRequest) -> HttpResponse:
    """The event to copy, as JSON: its value as it stands in Kafka or in its dead letter, so that no number changes."""
    event_id = request.GET.get("copy", "")
    letter_id = request.GET.get("letter", "")
    if letter_id.isdecimal() and len(letter_id) < 19:
        letter = DeadLetter.objects.filter(pk=int(letter_id)).first()
        if letter is None:
            return _no_copy(f"There is no dead letter {letter_id}.", "It may have left Kafka, and the index with it.")
        event_id, topic = letter.event_id, letter.topic
        found = contents.contents_of_letter(letter)
    else:
        place = read_place(request.GET.get("at", "")) or _place_of(event_id)
        topic = place.topic if place else ""
        found = contents.contents_of(event_id, place)
        if not topic and (first := DeadLetter.objects.filter(event_id=event_id).first()):
            topic = first.topic
    if isinstance(found, contents.Trouble):
        return _no_copy(found.heading, found.remedy)
    return _copy(event_id, topic, found)


def _copy(event_id: str, topic: str, found: contents.Contents) -> HttpResponse:
    text, is_binary = contents.text_of(found.value)
    if text is None or is_binary or len(text) > MOST_COPIED:
        return _no_copy("It can't be edited here.", "Its value is no text, or larger than 1 MB.")
    try:
        metadata = decode(found.value).metadata
    except EnvelopeError as error:
        return _no_copy("It isn't an event.", f"{error}; publish on its topic takes events only.")
    key, key_is_binary = contents.text_of(found.key)
    given = {
        "topic": topic,
        "key": None if key_is_binary else key,
        "priority": metadata.priority,
        "source": metadata.source,
        "correlationId": metadata.correlation_id,
        "userId": metadata.user_id,
        "version": metadata.version,
    }
    return JsonResponse({"eventId": event_id, "value": text, "event": given, "from": found.source, "note": found.note})


def _no_copy(what: str, remedy: str) -> HttpResponse:
    return JsonResponse({"detail": f"{what} {remedy}".strip()}, status=404)


def _place_of(event_id: str) -> Any:
    try:
        found = ledger().status(event_id, ())
    except LedgerUnavailableError:
        return None
    published = found.published if found else None
    return read_place(f"{published.topic}/{published.partition}/{published.offset}") if published else None


def _about(topic: Topic) -> dict[str, Any]:
    return {"rows": rows_of(topic), "schema": schema_of(topic), "example": example_of(topic)}


def _by_domain(topics: Any) -> list[tuple[str, list[Topic]]]:
    domains: dict[str, list[Topic]] = {}
    for topic in topics:
        domains.setdefault(topic.name.partition(".")[0], []).append(topic)
    return list(domains.items())


urlpatterns = [
    path("publish", page, name="publish"),
    path("publish/schema", schema, name="publish-schema"),
    path("publish/check", check, name="publish-check"),
    path("publish/copied", copied, name="publish-copied"),
]
