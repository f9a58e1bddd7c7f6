"""Small answers about dead letters: what is open, what can be typed, what an event became, who did what."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Path, Query, Router
from pydantic import Field

from bus import audit
from bus.deadletterindex.documents import letter_document
from bus.deadletterindex.summaries import Completed, completions, letters_of_event, open_counts
from eventconsole.api import bodies
from eventconsole.api import dead_letter_bodies as shapes
from eventconsole.api import dead_letter_views as views
from eventconsole.api.answers import answer
from eventconsole.api.auth import caller_of, needs
from eventconsole.models import Scope

_REFUSALS = dict.fromkeys((401, 403, 404, 422, 503), bodies.ProblemDocument)
_READING: dict[str, Any] = {"response": {200: dict[str, Any], **_REFUSALS}, "auth": needs(Scope.READ)}

LetterId = Path[Annotated[int, Field(ge=1, lt=2**63)]]

letters = Router(tags=["dead letters"])
groups = Router(tags=["dead letters"])


@letters.get("/counts", summary="Count open dead letters", **_READING)
async def counts(request: HttpRequest) -> HttpResponse:
    """Open dead letters in all, by topic and by consumer group; the empty name counts those that name no group."""
    caller = caller_of(request)

    def ask() -> dict[str, Any]:
        found = open_counts(views.visible_topics(caller))
        return {"total": found.total, "byTopic": found.by_topic, "byGroup": found.by_group}

    return await _answer(ask)


@letters.get("/values", summary="Complete a filter", **_READING)
async def values(request: HttpRequest, query: Query[shapes.ValueQuery]) -> HttpResponse:
    """Topics, consumer groups or error types of the index that have the typed text in them."""
    caller = caller_of(request)
    return await _answer(
        lambda: completions(Completed(query.of), query.typed, query.limit, views.visible_topics(caller))
    )


@letters.get("/{int:letter_id}/audit", summary="See who did what to a dead letter", **_READING)
async def letter_audit(request: HttpRequest, letter_id: LetterId) -> HttpResponse:
    """Alone, as one of many, or by its replays; the newest first."""
    caller = caller_of(request)

    def ask() -> list[dict[str, Any]]:
        return [audit.entry_document(each) for each in audit.of_letters([views.find_letter(letter_id, caller).pk])]

    return await _answer(ask)


@groups.get("/{fingerprint}/audit", summary="See who did what to an error group", **_READING)
async def group_audit(request: HttpRequest, fingerprint: Path[shapes.Words]) -> HttpResponse:
    """Its notes, what was discarded and restored as a whole, and its replays; the newest first."""
    caller = caller_of(request)

    def ask() -> list[dict[str, Any]]:
        views.show_group(fingerprint, caller)
        return [audit.entry_document(each) for each in audit.of_error_group(fingerprint)]

    return await _answer(ask)


@letters.get("/of-event/{path:event_id}", summary="List the dead letters of an event", **_READING)
async def of_event(request: HttpRequest, event_id: Path[shapes.Words]) -> HttpResponse:
    """One per consumer group and generation, those that failed again included."""
    caller = caller_of(request)

    def ask() -> list[dict[str, Any]]:
        return [letter_document(each) for each in letters_of_event(event_id, views.visible_topics(caller))]

    return await _answer(ask)


async def _answer(ask: Any) -> HttpResponse:
    return answer({"success": True, "data": await views.threads().ask(ask, views.QUERY_SECONDS)})
