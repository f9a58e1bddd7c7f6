"""How fast a replay goes, with a clock of the test's own."""

from __future__ import annotations

import pytest

from bus.replay.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def run(pace: Pace, clock: Clock, seconds: float, step: float) -> int:
    """How many go in so many seconds, when somebody asks every `step`."""
    sent, end = 0, clock.at + seconds
    while clock.at < end:
        due = pace.due(1000, clock.at)
        pace.went(due, clock.at)
        sent += due
        clock.at += step
    return sent


@pytest.mark.parametrize(("rate", "step"), [(500, 0.013), (500, 0.2), (3, 0.05), (20_000, 0.03), (0.5, 0.1)])
def test_the_rate_is_held_however_often_somebody_asks(rate: float, step: float) -> None:
    clock = Clock()
    pace = Pace(rate, clock())
    assert run(pace, clock, 60, step) == pytest.approx(rate * 60, rel=0.05, abs=2)
    assert pace.speed(clock()) == pytest.approx(rate, rel=0.1, abs=0.2)


def test_no_burst_follows_a_long_halt() -> None:
    clock = Clock()
    pace = Pace(100, clock())
    run(pace, clock, 10, 0.1)
    clock.at += 3600
    assert run(pace, clock, 1, 0.1) <= 200


def test_the_first_goes_at_once_and_the_next_in_its_time() -> None:
    clock = Clock()
    pace = Pace(0.1, clock())
    assert pace.due(1000, clock()) == 1
    pace.went(1, clock())
    clock.at += 9
    assert pace.due(1000, clock()) == 0
    clock.at += 1.01
    assert pace.due(1000, clock()) == 1


def test_without_a_rate_as_many_go_as_are_wanted() -> None:
    assert Pace(None, 0.0).due(1000, 0.0) == 1000


def test_what_is_due_is_sent_in_portions() -> None:
    clock = Clock()
    pace = Pace(500, clock())
    pace.went(1, clock())
    clock.at += 0.05
    assert pace.due(1000, clock()) == 0
    clock.at += 0.06
    assert 50 <= pace.due(1000, clock()) <= 55
