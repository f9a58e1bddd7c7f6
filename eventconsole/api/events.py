"""Publishing events, and what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse
from ninja import Body, Router

import bus
from bus import conf
from bus.envelope import new_event_id
from bus.errors import InvalidEventError, PublishUnknownError, UnavailableError
from eventconsole.api import bodies
from eventconsole.api.answers import answer
from eventconsole.api.auth import caller_of, needs
from eventconsole.api.errors import FORBIDDEN, Problem, problem_of
from eventconsole.api.tokens import Caller
from eventconsole.models import Scope

#: Whoever publishes over HTTP hears within 10 s; of them the broker has 8 at most.
BROKER_SECONDS = 8.0
ANSWER_SECONDS = 9.5

_REFUSALS = dict.fromkeys((400, 401, 403, 409, 413, 415, 422, 503), bodies.ProblemDocument)

if TYPE_CHECKING:
    from bus.producer import Published, PublishFailure

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
    options = _options(event)
    event_id = options["event_id"]
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            published = await bus.apublish(
                event.topic, event.data, **options, timeout=_broker_seconds(), published_by=caller.name
            )
    except TimeoutError:
        raise _unknown(event_id) from None
    except UnavailableError as error:
        raise _with_event_id(error, event_id) from error
    return answer({"success": True, "message": "Event published successfully", "data": _where(published)})


@router.post(
    "/publish-batch",
    response={200: bodies.PublishBatchAnswer, 207: bodies.PublishBatchAnswer, **_REFUSALS},
    auth=needs(Scope.PUBLISH),
    by_alias=True,
    summary="Publish several events",
)
async def publish_batch(request: HttpRequest, batch: Body[bodies.PublishBatchRequest]) -> HttpResponse:
    """Publish several events on one topic, each on its own.

    200 when all are published. 207 when some are: `data.results` says for each, in the order sent, where it went or
    why not. When none is published the answer is a problem, with the same results.
    """
    from bus.producer import PublishFailure

    caller = caller_of(request)
    _check_topic(caller, batch.topic)
    limit = conf.current().max_batch
    if len(batch.events) > limit:
        raise InvalidEventError("events", f"{len(batch.events)} events given, allowed are {limit} (BUS_MAX_BATCH)")
    events = [{"data": event.data, **_options(event)} for event in batch.events]
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            outcomes = await bus.apublish_batch(
                batch.topic, events, timeout=_broker_seconds(), published_by=caller.name
            )
    except TimeoutError:
        outcomes = [PublishFailure(event["event_id"], _unknown(event["event_id"])) for event in events]
    except UnavailableError as error:
        outcomes = [PublishFailure(event["event_id"], error) for event in events]
    return _batch_answer(batch.topic, outcomes)


def _check_topic(caller: Caller, topic: str) -> None:
    if not caller.may_use(topic):
        raise Problem(
            FORBIDDEN,
            f"topic: {caller.name} may use {', '.join(caller.topics)}, not {topic!r:.220}",
            [("topic", f"allowed to {caller.name} are {', '.join(caller.topics)}")],
        )


def _options(event: bodies.NewEvent) -> dict[str, Any]:
    # The id is made here when none was sent, so that it is known whatever happens.
    given = {
        "key": event.key,
        "priority": event.priority,
        "source": event.source,
        "correlation_id": event.correlation_id,
        "user_id": event.user_id,
        "version": event.version,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    options["event_id"] = event.event_id or new_event_id()
    return options


def _broker_seconds() -> float:
    return min(conf.current().publish_timeout, BROKER_SECONDS)


def _unknown(event_id: str) -> PublishUnknownError:
    return PublishUnknownError(
        event_id,
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


def _batch_answer(topic: str, outcomes: Sequence[Published | PublishFailure]) -> HttpResponse:
    from bus.producer import PublishFailure

    results: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, PublishFailure):
            problem = _with_event_id(outcome.error, outcome.event_id)
            problem.errors = [(f"events[{index}].{name}", text) for name, text in problem.errors]
            problems.append(problem)
            results.append(
                {
                    "index": index,
                    "success": False,
                    "eventId": outcome.event_id,
                    "topic": topic,
                    "error": problem.document(),
                }
            )
        else:
            results.append({"index": index, "success": True, **_where(outcome)})
    count = len(results) - len(problems)
    data = {"published": count, "failed": len(problems), "results": results}
    if not problems:
        return answer({"success": True, "message": f"Batch published successfully ({count} events)", "data": data})
    if count:
        message = f"Batch partly published ({count} of {len(results)} events)"
        return answer({"success": False, "message": message, "data": data}, status=207)
    # None is published: the answer's status is the first one's, unless another may work when sent again.
    worst = max(problems, key=lambda problem: problem.kind.status)
    detail = f"None of {len(results)} events was published; the first: {problems[0].detail}"
    every = [error for problem in problems for error in problem.errors]
    return Problem(worst.kind, detail, every, {"data": data}).response()
