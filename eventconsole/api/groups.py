"""Consumer groups: see them, pause and resume them, reset their offsets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from ninja import Body, Path, Query, Router

from bus.control import pauses
from bus.control.offsets import apply as resets
from bus.control.offsets import plan as plans
from bus.control.offsets.plan import Plan, Row, Target, To
from eventconsole.api import group_bodies as bodies
from eventconsole.api import group_desk as desk
from eventconsole.api.answers import answer
from eventconsole.api.auth import caller_of, needs
from eventconsole.api.bodies import ProblemDocument
from eventconsole.api.errors import INVALID, Problem
from eventconsole.api.query import refuse_unknown
from eventconsole.api.replay_desk import at_the_desk, now
from eventconsole.api.tokens import Caller
from eventconsole.models import Scope

_REFUSALS: Final = dict.fromkeys((400, 401, 403, 404, 409, 415, 422, 503), ProblemDocument)
_STEERING: Final[dict[str, Any]] = {
    "response": {200: bodies.Steered, **_REFUSALS},
    "auth": needs(Scope.ADMIN),
    "by_alias": True,
}

router = Router(tags=["consumer groups"])


@router.get(
    "",
    response={200: bodies.GroupList, **_REFUSALS},
    auth=needs(Scope.READ),
    by_alias=True,
    summary="List consumer groups",
)
async def groups(request: HttpRequest, query: Query[bodies.GroupsQuery]) -> HttpResponse:
    """As the monitor saw them last: lag, time lag, members, why they wait, what is paused. Foreign groups too."""
    refuse_unknown(request, bodies.GroupsQuery)
    caller = caller_of(request)
    return answer(await at_the_desk(lambda: desk.listed(query, caller)))


@router.get(
    "/{name}",
    response={200: bodies.OneGroup, **_REFUSALS},
    auth=needs(Scope.READ),
    by_alias=True,
    summary="See a consumer group",
)
async def group(request: HttpRequest, name: Path[str]) -> HttpResponse:
    """With every partition: end, committed, lag, time lag, who has it, and why it waits."""
    caller = caller_of(request)
    return answer({"success": True, "data": await at_the_desk(lambda: desk.one(name, caller))})


@router.post("/{name}/pause", summary="Pause a consumer group", **_STEERING)
async def pause(request: HttpRequest, name: Path[str], body: Body[bodies.SteerRequest]) -> HttpResponse:
    """Start nothing of it, or of one topic of it, until it is resumed. What runs finishes; workers obey within 2 s.

    They keep their partitions, and offsets stay where they are safe. 409 when it is paused already, with who and when.
    """
    return await _steer(request, name, body, pauses.pause, "paused")


@router.post("/{name}/resume", summary="Resume a consumer group", **_STEERING)
async def resume(request: HttpRequest, name: Path[str], body: Body[bodies.SteerRequest]) -> HttpResponse:
    """Go on, in the order of each key. What else of the group is paused stays so."""
    return await _steer(request, name, body, pauses.resume, "resumed")


@router.post(
    "/{name}/offsets/plan",
    response={200: bodies.OnePlan, **_REFUSALS},
    auth=needs(Scope.ADMIN),
    by_alias=True,
    summary="Plan a reset of offsets",
)
async def plan(request: HttpRequest, name: Path[str], body: Body[bodies.PlanRequest]) -> HttpResponse:
    """Before and after per partition, and how many events would be skipped as handled already. Nothing is changed.

    `skipped` comes from a look at some of the events: of `lookedAt` so many. Who wants them handled again applies the
    plan with `handleAgain`.
    """
    caller = caller_of(request)

    def do() -> dict[str, Any]:
        mine = desk.visible_topics(name, caller)
        desk.check_topics([*body.topics, *(each.topic for each in body.offsets)], caller)
        topics = tuple(body.topics or (mine if caller.topics else ()))
        offsets = {(each.topic, each.partition): each.offset for each in body.offsets}
        if len(offsets) < len(body.offsets):
            raise Problem(INVALID, "offsets: a partition is there twice", [("offsets", "a partition is there twice")])
        target = Target(To(body.to), body.at, offsets or None, topics)
        return _plan(plans.plan(name, target, desk.ledger()))

    return answer({"success": True, "data": await at_the_desk(do)})


@router.post(
    "/{name}/offsets/apply",
    response={200: bodies.Applied, **_REFUSALS},
    auth=needs(Scope.ADMIN),
    by_alias=True,
    summary="Reset offsets",
)
async def apply(request: HttpRequest, name: Path[str], body: Body[bodies.ApplyRequest]) -> HttpResponse:
    """Carry out a plan: send its `rows` and `epoch` as it answered them. Only for a group without members.

    409 when it has some, or when its offsets aren't any more what the plan saw: then plan again.
    """
    caller = caller_of(request)

    def do() -> dict[str, Any]:
        desk.visible_topics(name, caller)
        desk.check_topics([each.topic for each in body.offsets], caller)
        if body.handle_again:
            desk.check_all_topics(name, caller, "handle events again")
        moves = [resets.Move(each.topic, each.partition, each.before, each.after) for each in body.offsets]
        reset = resets.Reset(name, moves, body.epoch, body.handle_again, caller.name, body.reason)
        epoch = resets.apply(reset, desk.ledger(), now())
        return {"group": name, "partitions": len(moves), "epoch": epoch}

    return answer({"success": True, "data": await at_the_desk(do)})


async def _steer(
    request: HttpRequest, name: str, body: bodies.SteerRequest, change: Callable[..., pauses.Told], done: str
) -> HttpResponse:
    caller = caller_of(request)

    def do() -> dict[str, Any]:
        _check_steering(name, body.topic, caller)
        told = change(name, body.topic, caller.name, body.reason, now(), desk.ledger().mirror)
        when = (
            "workers obey within 2 s" if told.is_told else "Redis is away: workers obey once the monitor has told them"
        )
        what = f"Topic {body.topic} of {name}" if body.topic else f"Group {name}"
        data = {"group": name, "pauses": desk.pause_documents(name, caller), "told": told.is_told}
        return {"success": True, "message": f"{what} is {done}; {when}", "data": data}

    return answer(await at_the_desk(do))


def _check_steering(name: str, topic: str, caller: Caller) -> None:
    if not caller.topics:
        return
    if topic:
        desk.visible_topics(name, caller)
        desk.check_topics([topic], caller)
    else:
        desk.check_all_topics(name, caller, "pause or resume the whole group")


def _plan(made: Plan) -> dict[str, Any]:
    skipped = made.sample and {
        "total": made.sample.total,
        "lookedAt": made.sample.looked_at,
        "handled": made.sample.handled,
        "deadLetters": made.sample.dead_letters,
    }
    return {
        "group": made.group,
        "epoch": made.epoch,
        "rows": [_row(each) for each in made.rows],
        "lagBefore": sum(each.lag_before for each in made.rows),
        "lagAfter": sum(each.lag_after for each in made.rows),
        "again": made.again,
        "passed": made.passed,
        "skipped": skipped,
        "canHandleAgain": made.is_ours,
        "note": made.note,
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "topic": row.topic,
        "partition": row.partition,
        "before": row.before,
        "after": row.after,
        "first": row.first,
        "end": row.end,
        "lagBefore": row.lag_before,
        "lagAfter": row.lag_after,
    }
