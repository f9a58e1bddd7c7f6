from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from eventconsole.pages.sight import Sight


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hangs() -> Iterator[threading.Event]:
    """A look that hangs until this is set."""
    let_go = threading.Event()
    yield let_go
    let_go.set()


def test_what_was_seen_is_asked_for_once_a_second_at_most() -> None:
    clock, looks = Clock(), iter((1, 2, 3))
    sight = Sight("x", lambda: next(looks), clock=clock, monotonic=clock)
    assert [sight.see().value for _ in range(5)] == [1] * 5
    clock.now += 3
    assert sight.see().value == 2


def test_a_failed_look_keeps_what_was_seen_and_says_since_when_it_is_away() -> None:
    clock = Clock()
    answers: list[object] = ["there", ConnectionError("refused"), ConnectionError("refused"), "back"]

    def look() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    sight = Sight("x", look, clock=clock, monotonic=clock)
    assert sight.see().value == "there"
    clock.now += 10
    away = sight.see()
    assert (away.value, away.at, away.error, away.away_since) == ("there", 1000.0, "refused", 1010.0)
    clock.now += 10
    assert sight.see().away_since == 1010.0
    clock.now += 10
    assert sight.see().value == "back"
    assert not sight.see().is_away


def test_a_look_that_hangs_holds_up_nobody_twice_and_is_never_doubled(hangs: threading.Event) -> None:
    clock, looks = Clock(), []

    def look() -> str:
        looks.append(1)
        hangs.wait(30)
        return "there"

    sight = Sight("x", look, clock=clock, monotonic=clock, patience=0.01)
    clock.now += 1
    sight.see()
    clock.now += 5
    assert sight.see().error == "it gives no answer"
    clock.now += 60
    assert sight.see().away_since is not None
    assert len(looks) == 1
