"""Publishing events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic
from django.http import HttpRequest, HttpResponse
from ninja import Body, Router

import bus
from bus import conf
from bus.envelope import new_event_id
from bus.errors import InvalidEventError, PublishUnknownError, UnavailableError
from bus.producer import Outcome, Published, PublishFailure
from eventconsole.api import bodies
from eventconsole.api.answers import answer
from eventconsole.api.auth import caller_of, needs
from eventconsole.api.errors import FORBIDDEN, Problem, invalid, problem_of
from eventconsole.api.tokens import Caller
from eventconsole.models import Scope

#: Whoever publishes over HTTP hears within 10 s; of them the broker has 8 at most.
BROKER_SECONDS = 8.0
ANSWER_SECONDS = 9.5

_REFUSALS = dict.fromkeys((400, 401, 403, 409, 413, 415, 422, 503), bodies.ProblemDocument)

router = Router(tags=["events"])


@router.post(
    "/publish",
    response={200: bodies.PublishAnswer, **_REFUSALS},
    auth=needs(Scope.PUBLISH),
    by_alias=True,
    summary="Publish an event",
)
async def publish(request: HttpRequest, event: Body[bodies.PublishRequest]) -> HttpResponse:
    """Publish one event. Success means that Kafka has acknowledged it.

    With an `eventId` of yours it is published once within an hour, however often it is sent. After a 503 send it again
    with the `eventId` of the answer.
    """
    caller = caller_of(request)
    _check_topic(caller, event.topic)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            published = await bus.apublish(
                event.topic,
                event.data,
                key=event.key,
                event_id=event.event_id,
                priority=event.priority,
                source=event.source,
                correlation_id=event.correlation_id,
                user_id=event.user_id,
                version=event.version,
                timeout=_broker_seconds(),
                published_by=caller.name,
            )
    except TimeoutError:
        raise _no_answer(event.event_id) from None
    except UnavailableError as error:
        # Nothing was sent, so any id will do for sending it again.
        raise _with_event_id(error, event.event_id or new_event_id()) from error
    return answer({"success": True, "message": "Event published successfully", "data": _where(published)})


@router.post(
    "/publish-batch",
    response={200: bodies.PublishBatchAnswer, 207: bodies.PublishBatchAnswer, **_REFUSALS},
    auth=needs(Scope.PUBLISH),
    by_alias=True,
    summary="Publish several events",
)
async def publish_batch(request: HttpRequest, batch: Body[bodies.PublishBatchRequest]) -> HttpResponse:
    """Publish several events on one topic, each on its own: one that is refused doesn't hold up the others.

    200 when all are published. 207 when some are: `data.results` says for each, in the order sent, where it went or
    why not. When none is published the answer is a problem, with the same results.
    """
    caller = caller_of(request)
    _check_topic(caller, batch.topic)
    limit = conf.current().max_batch
    if len(batch.events) > limit:
        raise InvalidEventError("events", f"{len(batch.events)} events given, allowed are {limit} (BUS_MAX_BATCH)")
    outcomes: list[Outcome | Problem | None] = []
    events: list[dict[str, Any]] = []
    for index, given in enumerate(batch.events):
        try:
            events.append(bodies.NewEvent.model_validate(given).model_dump(by_alias=False))
        except pydantic.ValidationError as error:
            outcomes.append(invalid(error.errors(include_url=False), f"events[{index}]"))
        else:
            outcomes.append(None)
    published = iter(await _publish_all(batch.topic, events, caller.name))
    return _batch_answer(batch, [next(published) if outcome is None else outcome for outcome in outcomes])


async def _publish_all(topic: str, events: Sequence[dict[str, Any]], by: str) -> Sequence[Outcome]:
    if not events:
        return []
    if any(event["event_id"] is not None for event in events):
        # Asking Redis about these may take so long that nobody waits for the broker: then every id must be known.
        for event in events:
            event["event_id"] = event["event_id"] or new_event_id()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await bus.apublish_batch(topic, events, timeout=_broker_seconds(), published_by=by)
    except TimeoutError:
        ids = [event["event_id"] or new_event_id() for event in events]
        return [PublishFailure(event_id, _no_answer(event_id)) for event_id in ids]
    except UnavailableError as error:
        return [PublishFailure(event["event_id"] or new_event_id(), error) for event in events]


def _check_topic(caller: Caller, topic: str) -> None:
    if not caller.may_use(topic):
        raise Problem(
            FORBIDDEN,
            f"topic: {caller.name} may use {', '.join(caller.topics)}, not {topic!r:.220}",
            [("topic", f"allowed to {caller.name} are {', '.join(caller.topics)}")],
        )


def _broker_seconds() -> float:
    return min(conf.current().publish_timeout, BROKER_SECONDS)


def _no_answer(event_id: str | None) -> PublishUnknownError:
    return PublishUnknownError(
        event_id or new_event_id(),
        f"no answer within {ANSWER_SECONDS:g} s; the event may have been published: send it again with this eventId",
    )


def _with_event_id(error: Exception, event_id: str) -> Problem:
    problem = problem_of(error)
    problem.members = {**problem.members, "eventId": event_id}
    return problem


def _where(published: Published) -> dict[str, Any]:
    return {
        "eventId": published.event_id,
        "topic": published.topic,
        "partition": published.partition,
        "offset": published.offset,
        "duplicate": published.duplicate,
    }


def _batch_answer(batch: bodies.PublishBatchRequest, outcomes: Sequence[Outcome | Problem | None]) -> HttpResponse:
    results: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Published):
            results.append({"index": index, "success": True, **_where(outcome)})
            continue
        if isinstance(outcome, PublishFailure):
            problem = _with_event_id(outcome.error, outcome.event_id)
            problem.errors = [(f"events[{index}].{name}", text) for name, text in problem.errors]
            event_id: Any = outcome.event_id
        else:
            problem = outcome if outcome is not None else problem_of(RuntimeError("an event has no outcome"))
            given = batch.events[index]
            event_id = given.get("eventId") if isinstance(given, Mapping) else None
        problems.append(problem)
        failure = {"index": index, "success": False, "eventId": event_id, "topic": batch.topic}
        results.append({**failure, "error": problem.document()})
    count = len(results) - len(problems)
    data = {"published": count, "failed": len(problems), "results": results}
    if not problems:
        return answer({"success": True, "message": f"Batch published successfully ({count} events)", "data": data})
    if count:
        message = f"Batch partly published ({count} of {len(results)} events)"
        return answer({"success": False, "message": message, "data": data}, status=207)
    # None is published. The highest status stands for all: a 503 among them is worth sending the batch again.
    worst = max(problems, key=lambda problem: problem.kind.status)
    detail = f"None of {len(results)} events was published; the first: {problems[0].detail}"
    every = [error for problem in problems for error in problem.errors]
    return Problem(worst.kind, detail, every, {"data": data}).response()
