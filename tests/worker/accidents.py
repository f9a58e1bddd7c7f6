"""Accidents at named points: `module:Class.method:when:count`.

`bus.ledger:Ledger.exchange:after:3` is when the third call of that method has returned, in any thread, and nothing came
of its result yet. The product knows nothing of it: the method is replaced by one that counts.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Point:
    """A moment in the life of a process."""

    module: str
    name: str
    when: str
    count: int

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read `module:Class.method:before|after[:count]`. Raises ValueError."""
        module, name, when, *count = text.split(":")
        if when not in ("before", "after"):
            raise ValueError(f"{text}: {when!r} given, allowed are before and after")
        return cls(module, name, when, int(count[0]) if count else 1)

    def __str__(self) -> str:
        return f"{self.module}:{self.name}:{self.when}:{self.count}"


def kill() -> None:
    """Die without any chance to clean up."""
    os.kill(os.getpid(), signal.SIGKILL)


def freeze() -> None:
    """Stand still, all threads, until the parent sends SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def install(point: Point, accident: Callable[[], None]) -> None:
    """Let the accident happen when the point is reached. Raises AttributeError when there is no such function."""
    owner: Any = importlib.import_module(point.module)
    *outer, last = point.name.split(".")
    for name in outer:
        owner = getattr(owner, name)
    original = inspect.getattr_static(owner, last)
    setattr(owner, last, _watched(original, point, accident))


def _watched(original: Any, point: Point, accident: Callable[[], None]) -> Any:
    if isinstance(original, staticmethod | classmethod):
        return type(original)(_watched(original.__func__, point, accident))
    if not callable(original):
        raise AttributeError(f"{point}: not a function or method")
    counter = _Counter(point, accident)

    @functools.wraps(original)
    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        call = counter.begin()
        result = await original(*args, **kwargs)
        counter.end(call)
        return result

    @functools.wraps(original)
    def synchronous(*args: Any, **kwargs: Any) -> Any:
        call = counter.begin()
        result = original(*args, **kwargs)
        counter.end(call)
        return result

    return asynchronous if inspect.iscoroutinefunction(original) else synchronous


class _Counter:
    def __init__(self, point: Point, accident: Callable[[], None]) -> None:
        self._point = point
        self._accident = accident
        self._lock = threading.Lock()
        self._calls = 0

    def begin(self) -> int:
        with self._lock:
            self._calls += 1
            call = self._calls
        if self._point.when == "before":
            self._happen(call)
        return call

    def end(self, call: int) -> None:
        if self._point.when == "after":
            self._happen(call)

    def _happen(self, call: int) -> None:
        if call == self._point.count:
            # Past Python's buffers, which a killed process takes with it.
            os.write(2, f"accident at {self._point}\n".encode())
            self._accident()
