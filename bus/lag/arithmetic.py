"""Lag as numbers: how far behind, faster or slower, and for how long still. Pure.

A lag is never negative, whatever was measured in which order: a commit that is read after an end may be beyond it.
Offsets are numbers of a partition, so rates and times to drain are those of partitions; a group has caught up when its
slowest partition has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

WINDOW_SECONDS: Final = 30.0
"""Rates and trends are those of so many seconds."""
_KEEPS_UP_SECONDS: Final = 3.0
"""A partition that is no more than so many seconds of its own work behind keeps up: that much is always under way."""


class Measurement(NamedTuple):
    """Where a group is in a partition, and where the partition ends; `at` in seconds of any one clock."""

    at: float
    position: int
    end: int


class Flow(NamedTuple):
    """What is behind, what is done and what arrives, of one partition; rates per second."""

    lag: int
    rate: float
    arriving: float


def position(committed: int | None, first: int) -> int:
    """Where a group goes on: at its commit; at the first record there is, if it never committed or that one is gone."""
    return first if committed is None else max(committed, first)


def lag(position: int, end: int) -> int:
    """Events that are behind."""
    return max(0, end - position)


class Window:
    """Measurements of one partition in the last half minute."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: deque[Measurement] = deque()

    def add(self, measured: Measurement) -> None:
        """Take in a measurement. What was before is forgotten when offsets went back: a reset, a topic made anew."""
        seen = self._seen
        if seen and (
            measured.position < seen[-1].position or measured.end < seen[-1].end or measured.at <= seen[-1].at
        ):
            seen.clear()
        seen.append(measured)
        while len(seen) > 2 and measured.at - seen[1].at >= WINDOW_SECONDS:
            seen.popleft()

    @property
    def flow(self) -> Flow:
        """What the measurements come to; rates are 0 as long as there is only one."""
        last, first = self._seen[-1], self._seen[0]
        seconds = last.at - first.at
        if seconds <= 0:
            return Flow(lag(last.position, last.end), 0.0, 0.0)
        done, arrived = last.position - first.position, last.end - first.end
        return Flow(lag(last.position, last.end), done / seconds, arrived / seconds)

    @property
    def moved(self) -> bool:
        """Whether the end moved between the last two measurements."""
        return len(self._seen) > 1 and self._seen[-1].end > self._seen[-2].end

    @property
    def lag_before(self) -> int:
        """The lag at the beginning of the window."""
        return lag(self._seen[0].position, self._seen[0].end)


def trend(before: int, now: int, arriving: float) -> str:
    """growing, shrinking or steady: whether a lag changed by more than what comes and goes between two commits."""
    noise = max(0.05 * max(before, now), 2.0 * arriving)
    if now - before > noise:
        return "growing"
    return "shrinking" if before - now > noise else "steady"


def drain_seconds(flows: Iterable[Flow]) -> float | None:
    """When the slowest partition will have no lag, if all goes on as it does; None: never, as it looks now."""
    longest = 0.0
    for flow in flows:
        if flow.lag <= 0:
            continue
        if flow.rate <= 0:
            return None
        if flow.lag <= flow.rate * _KEEPS_UP_SECONDS:
            seconds = flow.lag / flow.rate
        elif flow.rate > flow.arriving:
            seconds = flow.lag / (flow.rate - flow.arriving)
        else:
            return None
        longest = max(longest, seconds)
    return longest


def time_lag(ages: Iterable[float | None]) -> float | None:
    """The largest of the ages of what is behind; None when none of them is known."""
    known = [age for age in ages if age is not None]
    return max(known) if known else None
