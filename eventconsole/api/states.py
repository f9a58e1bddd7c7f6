"""What became of an event."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Path, Router

import bus
from bus.envelope import timestamp
from bus.handlers import registry
from bus.ledger import Attempt, EventStatus, Status
from eventconsole.api import bodies
from eventconsole.api.answers import answer
from eventconsole.api.auth import caller_of, needs
from eventconsole.api.errors import NOT_FOUND, Problem
from eventconsole.api.tokens import Caller
from eventconsole.models import Scope

_REFUSALS = dict.fromkeys((401, 403, 422, 503), bodies.ProblemDocument)

#: The status of an event is the first of these that one of its groups has.
_FIRST = (Status.FAILED, Status.RETRYING, Status.PROCESSING, Status.PENDING)

router = Router(tags=["events"])


@router.get(
    "/processed/{path:event_id}",
    response={200: bodies.ProcessedAnswer, **_REFUSALS},
    auth=needs(Scope.READ),
    by_alias=True,
    summary="Check whether an event was processed",
)
async def processed(request: HttpRequest, event_id: Path[bodies.EventId]) -> HttpResponse:
    """Whether every group with a handler for the event's topic has handled it; false for an event nobody knows."""
    caller = caller_of(request)
    is_visible = not caller.topics or await _find(event_id, caller) is not None
    is_processed = is_visible and await bus.ais_event_processed(event_id)
    return answer({"success": True, "data": {"eventId": event_id, "processed": is_processed}})


@router.get(
    "/{path:event_id}",
    response={200: bodies.EventAnswer, 404: bodies.ProblemDocument, **_REFUSALS},
    auth=needs(Scope.READ),
    by_alias=True,
    summary="See what became of an event",
)
async def event(request: HttpRequest, event_id: Path[bodies.EventId]) -> HttpResponse:
    """Where an event was published and what each group made of it, attempt by attempt.

    Known for an hour after it was handled, for a day after it failed.
    """
    found = await _find(event_id, caller_of(request))
    if found is None:
        raise Problem(NOT_FOUND, f"Nothing is known of the event {event_id}: it was never published, or too long ago")
    return answer({"success": True, "data": _state(found)})


async def _find(event_id: str, caller: Caller) -> EventStatus | None:
    found = await bus.aevent_status(event_id)
    return found if found is not None and caller.may_use(_topic(found)) else None


def _topic(found: EventStatus) -> str:
    return found.published.topic if found.published else found.groups[0].topic


def _state(found: EventStatus) -> dict[str, Any]:
    groups: dict[str, dict[str, Any]] = {
        group: {"group": group, "status": Status.PENDING, "attempts": [], "nextRetryAt": None}
        for group in registry.groups_for(_topic(found))
    }
    for each in found.groups:
        groups[each.group] = {
            "group": each.group,
            "status": each.status,
            "attempts": [_attempt(attempt) for attempt in each.attempts],
            "nextRetryAt": None if each.next_retry_at_ms is None else timestamp(each.next_retry_at_ms),
        }
    published = found.published and {
        "topic": found.published.topic,
        "partition": found.published.partition,
        "offset": found.published.offset,
        "at": timestamp(found.published.at_ms),
        "by": found.published.by,
    }
    statuses = {group["status"] for group in groups.values()}
    # An event that no group wants stays what it is after publishing.
    overall = next(
        (status for status in _FIRST if status in statuses), Status.PROCESSED if statuses else Status.PENDING
    )
    return {"eventId": found.event_id, "status": overall, "published": published, "groups": list(groups.values())}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "at": timestamp(attempt.at_ms),
        "worker": attempt.worker,
        "duration": attempt.duration_ms / 1000,
        "error": attempt.error,
    }
