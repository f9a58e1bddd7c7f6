"""The handler threads and the event loop of a worker process, shared by all its groups.

A dispatcher gives runs of events in as `Job`s and gets each back through its `done` callback. While one dispatcher has
the process to itself (`Gate.try_alone`), the others give nothing in: so an event that is suspected of killing its
worker dies, if it does, in nobody's company.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from django.db import close_old_connections

from bus.consumer.executor import Executor, Outcome
from bus.consumer.lanes import Run
from bus.consumer.work import Work

log = logging.getLogger("bus.consumer")

_CLEAN_UP_EVERY_SECONDS = 1.0
_FAST_SECONDS = 0.002


class Job:
    """Events of one run that may be handled now, and, once done, their outcomes.

    A keyed run ends with the first event that isn't handled, because those behind it have to wait for it. `stop` may be
    set at any time: what hasn't started then isn't run. What has no outcome at the end wasn't run.
    """

    __slots__ = (
        "_executor",
        "_on_done",
        "_todo",
        "began",
        "blocked",
        "current",
        "is_async",
        "outcomes",
        "reported_stuck",
        "run",
        "stop",
        "works",
    )

    def __init__(
        self,
        run: Run[Work],
        works: list[Work],
        blocked: list[tuple[Work, float]],
        executor: Executor,
        on_done: Callable[[Job], None],
    ) -> None:
        self.run = run
        self.works = works
        self.outcomes: list[Outcome] = []
        self.blocked = blocked  # events of the run that have to wait, each until a time
        self.stop = False
        self.reported_stuck = False
        self.current: Work | None = None
        self.began = 0.0
        handler = works[0].handler
        self.is_async = handler is not None and handler.is_async and not handler.exactly_once
        self._executor = executor
        self._on_done = on_done
        self._todo = works[::-1]  # the next one last

    def take_back(self) -> list[Work]:
        """Stop, and return the events that haven't started and now never will; they are no part of the job any more."""
        self.stop = True
        rest: list[Work] = []
        try:
            # From behind, because a handler thread may be taking the next one at this moment.
            while True:
                rest.append(self._todo.pop(0))
        except IndexError:
            rest.reverse()
        self.works = self.works[: len(self.works) - len(rest)]
        return rest

    def take_done(self) -> list[tuple[Work, Outcome]]:
        """The events at the beginning that are handled, but never the last; they are no part of the job any more."""
        done: list[tuple[Work, Outcome]] = []
        for work, outcome in zip(self.works[:-1], self.outcomes, strict=False):
            if not outcome.is_good:
                break
            done.append((work, outcome))
        if done:
            self.works = self.works[len(done) :]
            del self.outcomes[: len(done)]  # a handler thread may be appending to this very list
        return done

    def perform(self, clock: Callable[[], float]) -> None:
        """Handle the events one after the other on this thread."""
        while (work := self._next(clock)) is not None:
            try:
                outcome = self._executor.run(work)
            except BaseException as error:  # a job that got lost would keep its events for ever
                outcome = self._executor.broken(work, error)
            if not self._goes_on_after(outcome):
                break
        self._finish()

    async def aperform(self, clock: Callable[[], float]) -> None:
        """The same on the event loop."""
        while (work := self._next(clock)) is not None:
            try:
                outcome = await self._executor.arun(work)
            except BaseException as error:  # a cancellation that an earlier handler left behind, for one
                outcome = self._executor.broken(work, error)
            if not self._goes_on_after(outcome):
                break
        self._finish()

    def _next(self, clock: Callable[[], float]) -> Work | None:
        if self.stop:
            return None
        try:
            work = self._todo.pop()
        except IndexError:
            return None
        self.began = clock()
        self.current = work
        return work

    def _goes_on_after(self, outcome: Outcome) -> bool:
        self.outcomes.append(outcome)
        return self.run.lane is None or outcome.is_good

    def _finish(self) -> None:
        self.current = None
        self._on_done(self)


class Gate:
    """Who may run handlers in this process: every dispatcher, or one alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[object, int] = {}
        self._alone: object | None = None

    def enter(self, who: object, jobs: int) -> bool:
        """Whether `who` may give in this many jobs now; they count as running until they `leave`."""
        with self._lock:
            if self._alone not in (None, who):
                return False
            self._running[who] = self._running.get(who, 0) + jobs
            return True

    def leave(self, who: object, jobs: int) -> None:
        """So many jobs of `who` are done."""
        with self._lock:
            self._running[who] -= jobs

    def try_alone(self, who: object) -> bool:
        """Ask for the process; True once nothing runs in it. The others give nothing in from the first asking on."""
        with self._lock:
            if self._alone is None:
                self._alone = who
            return self._alone is who and not any(self._running.values())

    def end_alone(self, who: object) -> None:
        """Let the others go on."""
        with self._lock:
            if self._alone is who:
                self._alone = None


class Pool:
    """Up to `concurrency` threads for sync handlers and one event loop for async ones, started when first needed."""

    def __init__(self, concurrency: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.concurrency = concurrency
        self.gate = Gate()
        self.clock = clock
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._seconds_per_job = 0.0  # lately; written by all threads, and none the worse for a lost update
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Have jobs performed, in the order given as far as threads are free."""
        sync = 0
        for job in jobs:
            if job.is_async:
                self._event_loop().call_soon_threadsafe(self._start, job)
            else:
                sync += 1
                self._jobs.append(job)
        if sync:
            self._employ(sync if self._seconds_per_job > _FAST_SECONDS else 1)

    def keep_up(self) -> None:
        """Employ one more thread when jobs wait: called by the dispatchers every few milliseconds while any do."""
        if self._jobs and self.next_look() is not None:
            self._employ(1)

    def next_look(self) -> float | None:
        """Seconds after which to `keep_up`, or None: nothing waits, or every thread is at work."""
        if not self._jobs or (len(self._threads) >= self.concurrency and not self._idle):
            return None
        return _FAST_SECONDS

    def _employ(self, count: int) -> None:
        # Handlers that take no time are done soonest by one thread: more of them would only wait for each other to let
        # go of the interpreter. Those that wait for something else get as many as there are jobs.
        with self._changed:
            self._changed.notify(count)
            wanted = min(self.concurrency, len(self._threads) - self._idle + count)
            while len(self._threads) < wanted:
                thread = threading.Thread(target=self._work, name=f"bus-handler-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self) -> None:
        jobs, clock = self._jobs, self.clock
        cleaned = clock()
        while True:
            try:
                job = jobs.popleft()
            except IndexError:
                with self._changed:
                    # Whoever adds jobs notifies afterwards, under the lock: they are seen here, or the call is.
                    if not jobs:
                        self._idle += 1
                        self._changed.wait()
                        self._idle -= 1
                continue
            began = clock()
            if began - cleaned > _CLEAN_UP_EVERY_SECONDS:
                _clean_up()
                cleaned = began
            job.perform(clock)
            self._seconds_per_job += 0.1 * (clock() - began - self._seconds_per_job)

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        with self._changed:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(self._loop,), name="bus-async-handlers", daemon=True).start()
            return self._loop

    def _start(self, job: Job) -> None:
        task = asyncio.ensure_future(job.aperform(self.clock))
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)


def _clean_up() -> None:
    try:
        close_old_connections()
    except Exception:
        # To a database that is away; the next query finds out. The thread and its job go on.
        log.warning("database_connection_not_closed", exc_info=True)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        try:
            loop.run_forever()
        except BaseException:
            # SystemExit in a task that a handler started ends the loop, and all handlers on it would hang.
            log.exception("event_loop_broken by a task that a handler started; it goes on")
