"""`data.simulate`: an event that says how its handling goes wrong, for trying things out.

    "fail"       every attempt fails
    "fail:2"     the first two attempts fail
    "permanent"  fails in a way that trying again can't help
    "slow:3"     takes three seconds longer
    "crash"      kills the worker

`data.simulateGroup` limits it to one consumer group. Everything but `crash` is over when the event is replayed.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from bus import catalog, handlers
from bus.envelope import Metadata
from bus.errors import PermanentError
from eventconsole.demo.outages import RejectedError

F = TypeVar("F", bound=Callable[[Any, Metadata], Any])

_GRAMMAR = re.compile(
    r"(?P<word>fail|permanent|crash)|fail:(?P<failures>[0-9]{1,4})|slow:(?P<seconds>[0-9]{1,4}(\.[0-9]{1,3})?)"
)
MOST_ATTEMPTS = 100
MOST_SECONDS = 600.0
ALLOWED = (
    f'allowed are "fail", "fail:N" (the first N attempts, 1 to {MOST_ATTEMPTS}), "permanent", "slow:S" (seconds, up '
    f'to {MOST_SECONDS:g}) and "crash"'
)


@dataclass(frozen=True, slots=True)
class Course:
    """How one attempt goes: wait, then crash, or fail (for good or not), or go on as if nothing were."""

    seconds: float = 0.0
    crashes: bool = False
    fails: bool = False
    is_permanent: bool = False


AS_USUAL = Course()


def course_of(data: Any, delivery: handlers.Delivery) -> Course:
    """How the attempt `delivery` goes for an event with this data. Raises PermanentError for what isn't allowed."""
    if not isinstance(data, Mapping) or data.get("simulate") is None:
        return AS_USUAL
    group = data.get("simulateGroup")
    if group is not None and group not in list(catalog.groups()):
        raise PermanentError(f"data.simulateGroup is {group!r:.80}, allowed are {', '.join(catalog.groups())}")
    wanted = data["simulate"]
    asked = _GRAMMAR.fullmatch(wanted) if isinstance(wanted, str) else None
    course = _course(asked, delivery.attempt) if asked else None
    if course is None:
        raise PermanentError(f"data.simulate is {wanted!r:.80}, {ALLOWED}")
    if group not in (None, delivery.group) or (delivery.generation > 0 and not course.crashes):
        return AS_USUAL
    return course


def _course(asked: re.Match[str], attempt: int) -> Course | None:
    """None for a number that isn't allowed."""
    if asked["failures"]:
        failures = int(asked["failures"])
        return Course(fails=attempt <= failures) if 0 < failures <= MOST_ATTEMPTS else None
    if asked["seconds"]:
        seconds = float(asked["seconds"])
        return Course(seconds=seconds) if 0 < seconds <= MOST_SECONDS else None
    return Course(
        crashes=asked["word"] == "crash", fails=asked["word"] != "crash", is_permanent=asked["word"] == "permanent"
    )


def kill_this_worker() -> None:
    """Die as if the machine had run out of memory: nothing is closed, committed or told to anyone."""
    os.kill(os.getpid(), signal.SIGKILL)


def simulated(
    outage: Exception,
    *,
    sleep: Callable[[float], None] = time.sleep,
    asleep: Callable[[float], Any] = asyncio.sleep,
    crash: Callable[[], None] = kill_this_worker,
) -> Callable[[F], F]:
    """Let a handler obey `data.simulate`; `outage` is what it raises when it is to fail.

    It goes wrong before the handler does anything, so that a failed attempt has no effects.
    """

    def finish(course: Course) -> None:
        if course.crashes:
            crash()
        if course.is_permanent:
            raise RejectedError(f"refused for good, as data.simulate asks: {outage}")
        if course.fails:
            raise type(outage)(*outage.args)

    def wrap(function: F) -> F:
        @functools.wraps(function)
        async def run_async(data: Any, metadata: Metadata) -> None:
            course = course_of(data, handlers.current())
            if course.seconds:
                await asleep(course.seconds)
            finish(course)
            await function(data, metadata)

        @functools.wraps(function)
        def run(data: Any, metadata: Metadata) -> None:
            course = course_of(data, handlers.current())
            if course.seconds:
                sleep(course.seconds)
            finish(course)
            function(data, metadata)

        return run_async if inspect.iscoroutinefunction(function) else run  # type: ignore[return-value]

    return wrap
