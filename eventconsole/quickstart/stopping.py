"""How Ctrl-C, SIGTERM and the terminal's end reach the one who stops things in order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):  # noqa: N818 -- an instruction, not an error
    """Somebody asked to stop."""


class StopRequest:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.times = 0

    def check(self) -> None:
        """Raises Stopped when somebody did."""
        if self.times:
            raise Stopped


@contextmanager
def on_signals(hurry: Callable[[], None]) -> Iterator[StopRequest]:
    """Note signals instead of dying of them; `hurry` is called at the second one."""
    request = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        request.times += 1
        if request.times > 1:
            hurry()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
