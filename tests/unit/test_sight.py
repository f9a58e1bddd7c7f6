"""What a process sees of Kafka and Redis beside its pages."""

from __future__ import annotations

import threading

import pytest

from eventconsole.pages import sight
from eventconsole.pages.sight import Sight


class Clocks:
    wall, steady = 1_000_000.0, 50.0


def test_a_clock_that_was_set_back_makes_nothing_fresh() -> None:
    looks: list[int] = []

    def look() -> int:
        looks.append(1)
        return len(looks)

    its = Sight("it", look, patience=5.0, clock=lambda: Clocks.wall, monotonic=lambda: Clocks.steady)
    assert its.see().value == 1
    Clocks.wall -= 3600
    Clocks.steady += 2
    assert its.see().value == 2


def test_a_look_that_hangs_is_told_though_the_clock_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sight, "LOST_SECONDS", 4.0)
    answers, goes_on = [1], threading.Event()

    def look() -> int:
        if not answers:
            goes_on.wait(10)
        return answers.pop() if answers else 2

    its = Sight("it", look, patience=0.2, clock=lambda: Clocks.wall, monotonic=lambda: Clocks.steady)
    try:
        assert not its.see().is_away
        Clocks.steady += 2
        assert not its.see().is_away
        Clocks.wall -= 3600
        Clocks.steady += 5
        assert its.see().error == "it gives no answer"
    finally:
        goes_on.set()
