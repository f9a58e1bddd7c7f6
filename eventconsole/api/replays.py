"""Replaying dead letters: one, with a delay and an undo; or many, planned, run, paused, resumed, cancelled."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Body, Path, Query, Router
from pydantic import Field

from bus.deadletterindex.pages import LetterFilter
from bus.deadletterindex.times import iso_or_none
from bus.models import DeadLetter, Replay, ReplayItem
from bus.replay import operations, report, states
from bus.replay.engine import live_groups
from bus.replay.plan import Choice, Plan, plan
from bus.replay.refusals import UnknownThingError
from eventconsole.api import replay_bodies as bodies
from eventconsole.api import replay_desk as desk
from eventconsole.api.answers import answer
from eventconsole.api.auth import caller_of, needs
from eventconsole.api.bodies import ProblemDocument
from eventconsole.api.errors import INVALID, Problem
from eventconsole.api.tokens import Caller
from eventconsole.models import Scope

_REFUSALS = dict.fromkeys((400, 401, 403, 404, 409, 415, 422, 503), ProblemDocument)
RowId = Annotated[int, Field(ge=1, lt=2**63)]
_CHANGING: dict[str, Any] = {
    "response": {200: bodies.OneReplay, **_REFUSALS},
    "auth": needs(Scope.REPLAY),
    "by_alias": True,
}

router = Router(tags=["replays"])
letters = Router(tags=["replays"])


@letters.post("/{int:letter_id}/replay", summary="Replay a dead letter", **_CHANGING)
async def replay_letter(
    request: HttpRequest, letter_id: Path[RowId], body: Body[bodies.ReplayOneRequest]
) -> HttpResponse:
    """Deliver a dead letter again, to only the group that failed.

    Success means that Kafka has acknowledged it; with a `delay` that it is stored and will be sent then. 409 when
    somebody else was faster, with who and when. With `edit` a changed copy goes out, with an eventId of its own.
    """
    caller = caller_of(request)
    return _one(await desk.at_the_desk(lambda: desk.replay_one(letter_id, body, caller)))


@letters.post("/{int:letter_id}/undo", summary="Undo a replay that isn't sent yet", **_CHANGING)
async def undo(request: HttpRequest, letter_id: Path[RowId]) -> HttpResponse:
    """Take back a replay with a delay, until it is sent."""
    caller = caller_of(request)

    def do() -> Replay:
        letter = DeadLetter.objects.filter(pk=letter_id).first()
        if letter is None or not caller.may_use(letter.topic):
            raise UnknownThingError(f"there is no dead letter {letter_id}")
        return operations.undo(letter_id, caller.name, desk.now())

    return _one(await desk.at_the_desk(do))


@router.post(
    "",
    response={201: bodies.OnePlan, **_REFUSALS},
    auth=needs(Scope.REPLAY),
    by_alias=True,
    summary="Plan a replay of many",
)
async def make_plan(request: HttpRequest, body: Body[bodies.PlanRequest]) -> HttpResponse:
    """Fix the exact set of dead letters, and say what to expect. Nothing is sent before it is run."""
    caller = caller_of(request)
    if (body.filter is None) == (body.ids is None):
        raise Problem(INVALID, "filter: say either filter or ids", [("filter", "say either filter or ids")])

    def do() -> dict[str, Any]:
        topics = desk.visible_topics(caller)
        choice = Choice(
            LetterFilter(topics=topics) if body.filter is None else body.filter.filter(topics),
            None if body.ids is None else tuple(dict.fromkeys(body.ids)),
            body.force,
            body.all_groups,
            body.reason,
        )
        return _plan_document(plan(choice, caller.name, desk.now(), live_groups()))

    return answer({"success": True, "data": await desk.at_the_desk(do)}, status=201)


@router.post("/{int:replay_id}/run", summary="Run a planned replay", **_CHANGING)
async def run(request: HttpRequest, replay_id: Path[RowId], body: Body[bodies.RunRequest]) -> HttpResponse:
    """Let the monitor send it, at `rate` events per second; of a `canary` the outcome is waited for first."""

    def do(caller: Caller) -> Replay:
        how = {"rate": body.rate, "canary": body.canary, "stop_at_percent": body.stop_at_percent}
        return operations.run(replay_id, caller.name, desk.now(), **how)  # type: ignore[arg-type]

    return await _change(request, replay_id, do)


@router.post("/{int:replay_id}/pause", summary="Pause a replay", **_CHANGING)
async def pause(request: HttpRequest, replay_id: Path[RowId]) -> HttpResponse:
    """Send no more for now."""
    return await _change(request, replay_id, lambda caller: operations.pause(replay_id, caller.name, desk.now()))


@router.post("/{int:replay_id}/resume", summary="Resume a replay", **_CHANGING)
async def resume(request: HttpRequest, replay_id: Path[RowId]) -> HttpResponse:
    """Go on; also after a canary that stopped it, with all the rest."""
    return await _change(request, replay_id, lambda caller: operations.resume(replay_id, caller.name, desk.now()))


@router.post("/{int:replay_id}/rate", summary="Change the rate of a replay", **_CHANGING)
async def change_rate(request: HttpRequest, replay_id: Path[RowId], body: Body[bodies.RateRequest]) -> HttpResponse:
    """Send faster or slower from now on; what was taken, a few thousand at most, is still sent as before."""
    return await _change(
        request, replay_id, lambda caller: operations.change_rate(replay_id, body.rate, caller.name, desk.now())
    )


@router.post("/{int:replay_id}/cancel", summary="Cancel a replay", **_CHANGING)
async def cancel(request: HttpRequest, replay_id: Path[RowId]) -> HttpResponse:
    """Send no more of it, ever. What was sent stays sent."""
    return await _change(request, replay_id, lambda caller: operations.cancel(replay_id, caller.name, desk.now()))


@router.get(
    "",
    response={200: bodies.ReplayList, **_REFUSALS},
    auth=needs(Scope.READ),
    by_alias=True,
    summary="List replays",
)
async def replays(request: HttpRequest, query: Query[bodies.ReplayQuery]) -> HttpResponse:
    """The newest first. `next` is the cursor of the page after this one."""
    caller = caller_of(request)

    def do() -> dict[str, Any]:
        found = Replay.objects.order_by("-pk")
        if query.state is not None:
            found = found.filter(state=query.state)
        if query.cursor is not None:
            found = found.filter(pk__lt=query.cursor)
        rows = list(found[: query.limit + 1])
        seen = [row for row in rows[: query.limit] if all(caller.may_use(topic) for topic, _, _ in row.places)]
        next_ = str(rows[query.limit - 1].pk) if len(rows) > query.limit else None
        return {"data": [document(row, desk.now()) for row in seen], "next": next_}

    return answer(await desk.at_the_desk(do))


@router.get(
    "/{int:replay_id}",
    response={200: bodies.OneReplay, **_REFUSALS},
    auth=needs(Scope.READ),
    by_alias=True,
    summary="See how far a replay is",
)
async def replay(request: HttpRequest, replay_id: Path[RowId]) -> HttpResponse:
    """Counts, rate and time left; what failed again with the same error, and with another."""
    caller = caller_of(request)
    return _one(await desk.at_the_desk(lambda: desk.visible_replay(replay_id, caller)))


@router.get(
    "/{int:replay_id}/items",
    response={200: bodies.ItemList, **_REFUSALS},
    auth=needs(Scope.READ),
    by_alias=True,
    summary="List the dead letters of a replay",
)
async def items(request: HttpRequest, replay_id: Path[RowId], query: Query[bodies.ItemQuery]) -> HttpResponse:
    """In the order in which they are sent, with what became of each."""
    caller = caller_of(request)

    def do() -> dict[str, Any]:
        found = ReplayItem.objects.filter(replay=desk.visible_replay(replay_id, caller)).order_by("sequence")
        if query.state is not None:
            found = found.filter(state=query.state)
        if query.cursor is not None:
            found = found.filter(sequence__gt=query.cursor)
        rows = list(found[: query.limit + 1])
        next_ = str(rows[query.limit - 1].sequence) if len(rows) > query.limit else None
        return {"data": [_item(row) for row in rows[: query.limit]], "next": next_}

    return answer(await desk.at_the_desk(do))


async def _change(request: HttpRequest, replay_id: int, do: Callable[[Caller], Replay]) -> HttpResponse:
    caller = caller_of(request)

    def checked() -> Replay:
        desk.visible_replay(replay_id, caller)
        return do(caller)

    return _one(await desk.at_the_desk(checked))


def _one(found: Replay) -> HttpResponse:
    return answer({"success": True, "data": document(found, desk.now())})


def document(found: Replay, now: datetime) -> dict[str, Any]:
    """A replay as JSON."""
    progress = report.progress_of(found, now)
    return {
        "id": found.pk,
        "state": found.state,
        "kind": found.kind,
        "total": progress.total,
        "sent": progress.sent,
        "handled": progress.handled,
        "failedAgain": progress.failed_again,
        "failedAgainSame": found.failed_again_same,
        "failedAgainOther": found.failed_again_other,
        "pending": progress.pending,
        "waiting": progress.waiting,
        "skipped": progress.skipped,
        "rate": found.rate,
        "speed": progress.speed,
        "secondsLeft": progress.seconds_left,
        "canary": found.canary,
        "stopAtPercent": found.stop_at_percent,
        "sendAt": iso_or_none(found.send_at),
        "createdAt": iso_or_none(found.created_at),
        "createdBy": found.created_by,
        "changedAt": iso_or_none(found.changed_at),
        "changedBy": found.changed_by,
        "startedAt": iso_or_none(found.started_at),
        "finishedAt": iso_or_none(found.finished_at),
        "reason": found.reason,
        "filter": found.filter,
        "places": [{"topic": topic, "group": group, "count": count} for topic, group, count in found.places],
        "possible": states.possible(found.state),
    }


def _plan_document(made: Plan) -> dict[str, Any]:
    sample = [
        {
            "id": letter.pk,
            "topic": letter.topic,
            "group": letter.group,
            "eventId": letter.event_id,
            "key": letter.key if letter.has_key else None,
            "generation": letter.generation,
            "replayedTimes": letter.replayed_times,
            "error": {"type": letter.error_type, "message": letter.error_message},
        }
        for letter in made.sample
    ]
    warnings = [
        {"kind": each.kind, "count": each.count, "text": each.text, "detail": each.detail} for each in made.warnings
    ]
    return {**document(made.replay, desk.now()), "sample": sample, "warnings": warnings}


def _item(row: ReplayItem) -> dict[str, Any]:
    return {
        "sequence": row.sequence,
        "deadLetter": row.dead_letter_id,
        "state": row.state,
        "note": row.note,
        "sentAt": iso_or_none(row.sent_at),
        "finishedAt": iso_or_none(row.finished_at),
    }
