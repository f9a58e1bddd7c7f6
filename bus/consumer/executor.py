"""Runs one event and says what became of it. Every way in which a handler can end maps to one outcome, here."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from asgiref.sync import async_to_sync, sync_to_async
from django.db import DatabaseError, InterfaceError, connections

from bus import conf, handlers, inbox
from bus.consumer.work import Work
from bus.deadletters import Reason
from bus.errors import PermanentError, PublishUnknownError, RetryLater, SkipEvent, UnavailableError
from bus.handlers import Delivery, Handler
from bus.ledger import Attempt
from bus.retry import RunAgain

log = logging.getLogger("bus.consumer")

# How long an event waits that met an outage: of Kafka, Redis or the database. It costs no attempt.
OUTAGE_SECONDS = 2.0
_MESSAGE_LENGTH = 300


class Result(Enum):
    """What became of a run."""

    HANDLED = auto()
    SKIPPED = auto()
    RETRY = auto()
    DEAD = auto()
    OUTAGE = auto()
    #: Not started: the worker stops, or the partition was taken away.
    NOT_RUN = auto()


@dataclass(slots=True)
class Outcome:
    """The result of one run. `seconds` to wait with RETRY and OUTAGE; `error` and `reason` where it failed.

    `ran` is False where the handler never saw the event.
    """

    result: Result
    attempt: Attempt | None = None
    seconds: float = 0.0
    error: BaseException | None = None
    reason: Reason | None = None
    stack: str = ""
    ran: bool = True

    @property
    def is_good(self) -> bool:
        """Whether the event is done with."""
        return self.result is Result.HANDLED or self.result is Result.SKIPPED


NOT_RUN = Outcome(Result.NOT_RUN)


class Executor:
    """Runs events of one group on behalf of one worker. Knows nothing of Kafka and Redis.

    `begins` is told of every attempt and of its time, in ms since 1970, when it is handed to the handler.
    """

    def __init__(
        self,
        group: str,
        worker: str,
        crash_limit: int,
        begins: Callable[[Work, int], None] = lambda work, at_ms: None,
        *,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.group = group
        #: The group's name in the inbox.
        self.known_as = group
        self.worker = worker
        self.crash_limit = crash_limit
        self._begins = begins
        self._wall_clock = wall_clock
        self._clock = clock

    def run(self, work: Work) -> Outcome:
        """Run a sync handler, or an async one with `exactly_once`, on this thread."""
        handler = work.handler
        if handler is None or work.problem is not None or work.crashes or handler.priorities is not None:
            settled = self._without_running(work)
            if settled is not None:
                return settled
        assert handler is not None
        assert work.event is not None
        event = work.event
        at_ms, began = int(self._wall_clock() * 1000), self._clock()
        self._begins(work, at_ms)
        token = handlers._delivery.set(self._delivery(work))
        try:
            if handler.exactly_once:
                self._run_once(work, handler)
            else:
                _refuse_awaitable(handler, handler.function(event.data, event.metadata))
        except BaseException as error:  # whatever a handler raises, SystemExit included, is the event's affair
            return self._failed(work, handler, error, at_ms, began)
        finally:
            handlers._delivery.reset(token)
        return Outcome(Result.HANDLED, Attempt(at_ms, int((self._clock() - began) * 1000), self.worker))

    async def arun(self, work: Work) -> Outcome:
        """Run an async handler on the event loop; its `timeout` cancels it."""
        settled = self._without_running(work)
        if settled is not None:
            return settled
        handler, event = work.handler, work.event
        assert handler is not None
        assert event is not None
        at_ms, began = int(self._wall_clock() * 1000), self._clock()
        self._begins(work, at_ms)
        handlers._delivery.set(self._delivery(work))  # the task's own context: nothing to reset
        try:
            async with asyncio.timeout(handler.timeout):
                await handler.function(event.data, event.metadata)
        except (DatabaseError, InterfaceError) as error:
            # The database is asked what the error means, and that blocks; on the thread of the handler's own queries,
            # whose connection is broken now and would stay so.
            return await sync_to_async(self._failed)(work, handler, error, at_ms, began)
        except BaseException as error:
            return self._failed(work, handler, error, at_ms, began)
        return Outcome(Result.HANDLED, Attempt(at_ms, int((self._clock() - began) * 1000), self.worker))

    def _without_running(self, work: Work) -> Outcome | None:
        """The outcome of an event that its handler never sees."""
        handler = work.handler
        at_ms = int(self._wall_clock() * 1000)
        if work.crashes >= self.crash_limit:
            if handler is not None and handler.exactly_once:
                # It may have died after its commit: then it is done, and no dead letter.
                try:
                    if inbox.is_handled(self.known_as, work.event_id, work.generation):
                        return Outcome(Result.HANDLED, Attempt(at_ms, 0, self.worker))
                except UnavailableError as outage:
                    return Outcome(Result.OUTAGE, seconds=OUTAGE_SECONDS, error=outage)
            error = PermanentError(f"killed its worker {work.crashes} times while it ran alone")
            return self._dead_unseen(at_ms, error, str(error), Reason.CRASH)
        if work.problem is not None:
            return self._dead_unseen(at_ms, work.problem, _describe(work.problem), Reason.UNDECODABLE)
        if handler is None:
            error = PermanentError(f"{self.group} has no handler for {work.topic}")
            return self._dead_unseen(at_ms, error, str(error), Reason.PERMANENT)
        if work.event is not None and not handler.wants(work.event.metadata.priority):
            return Outcome(Result.SKIPPED, Attempt(at_ms, 0, self.worker), ran=False)
        return None

    def _dead_unseen(self, at_ms: int, error: BaseException, text: str, reason: Reason) -> Outcome:
        attempt = Attempt(at_ms, 0, self.worker, text)
        return Outcome(Result.DEAD, attempt, error=error, reason=reason, ran=False)

    def _delivery(self, work: Work) -> Delivery:
        return Delivery(
            self.group, work.topic, work.source[1], work.offset, work.attempts + 1, work.generation, self.worker
        )

    def _run_once(self, work: Work, handler: Handler) -> None:
        event = work.event
        assert event is not None

        def handle() -> None:
            if handler.is_async:
                async_to_sync(_limited)(handler, event.data, event.metadata)
            else:
                _refuse_awaitable(handler, handler.function(event.data, event.metadata))

        inbox.handle_once(self.known_as, work.event_id, work.generation, handle)

    def _failed(self, work: Work, handler: Handler, error: BaseException, at_ms: int, began: float) -> Outcome:
        duration = int((self._clock() - began) * 1000)
        if isinstance(error, SkipEvent):
            return Outcome(Result.SKIPPED, Attempt(at_ms, duration, self.worker))
        try:
            if _is_outage(error):
                return Outcome(Result.OUTAGE, seconds=OUTAGE_SECONDS, error=error)
            if handler.exactly_once and inbox.is_handled(self.known_as, work.event_id, work.generation):
                # The commit went through and only its answer was lost.
                return Outcome(Result.HANDLED, Attempt(at_ms, duration, self.worker))
        except UnavailableError as outage:
            return Outcome(Result.OUTAGE, seconds=OUTAGE_SECONDS, error=outage)
        finally:
            _close_broken_connections()
        attempt = Attempt(at_ms, duration, self.worker, _describe(error))
        stack = "".join(traceback.format_exception(error))
        return self._counted(work, handler, error, attempt, stack)

    def broken(self, work: Work, error: BaseException) -> Outcome:
        """The outcome of a run that ended in a way that nobody foresaw. Never raises."""
        handler, at_ms = work.handler, int(self._wall_clock() * 1000)
        log.error("run_broken %s", _describe(error), extra={"group": self.group, "event_id": work.event_id})
        if handler is None or handler.exactly_once:
            # Whether it is committed is not known: only the next run can ask.
            return Outcome(Result.OUTAGE, seconds=OUTAGE_SECONDS, error=error)
        return self._counted(work, handler, error, Attempt(at_ms, 0, self.worker, _describe(error)), "")

    def _counted(self, work: Work, handler: Handler, error: BaseException, attempt: Attempt, stack: str) -> Outcome:
        """The outcome of an attempt that failed."""
        if isinstance(error, (PermanentError, *handler.permanent)):
            return Outcome(Result.DEAD, attempt, error=error, reason=Reason.PERMANENT, stack=stack)
        # Longer than half the deduplication and the event could be forgotten while it waits.
        longest = conf.current().dedup_seconds / 2
        asked = min(error.seconds, longest) if isinstance(error, RetryLater) else None
        decision = handler.policy.after_failure(work.attempts + 1, asked_seconds=asked)
        if isinstance(decision, RunAgain):
            return Outcome(Result.RETRY, attempt, decision.seconds, error, stack=stack)
        return Outcome(Result.DEAD, attempt, error=error, reason=Reason.EXHAUSTED, stack=stack)


async def _limited(handler: Handler, data: object, metadata: object) -> None:
    async with asyncio.timeout(handler.timeout):
        await handler.function(data, metadata)  # type: ignore[arg-type]


def _is_outage(error: BaseException) -> bool:
    """Whether the error tells of Kafka, Redis or the database being away, and nothing about the event."""
    # A handler that publishes while Kafka is away gets no answer.
    if isinstance(error, UnavailableError | PublishUnknownError):
        return True
    return isinstance(error, DatabaseError | InterfaceError) and inbox.is_database_away()


def _close_broken_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            with contextlib.suppress(DatabaseError, InterfaceError):  # it is as good as closed
                connection.close_if_unusable_or_obsolete()


def _refuse_awaitable(handler: Handler, returned: object) -> None:
    """A function that isn't `async def` but returns a coroutine, as some decorators make, has done nothing yet."""
    if returned is not None and inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()
        raise PermanentError(f"{handler.name} returned something to be awaited; make it an `async def`")


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {message_of(error)}"[:_MESSAGE_LENGTH]


def message_of(error: BaseException | None) -> str:
    """The error's text. An exception whose own `__str__` raises must not take the worker with it."""
    try:
        return str(error)
    except BaseException as unprintable:
        return f"(no text: its __str__ raised {type(unprintable).__name__})"
