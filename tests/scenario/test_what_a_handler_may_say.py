from __future__ import annotations

import time
from collections.abc import Callable

from bus.deadletters import Reason
from tests.scenario.stage import Stage


def test_skip_later_and_permanent_are_obeyed(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(partitions=1)
    skipped, later, permanent, fails = stage.send("skip", "later:0.6", "permanent", "fail", keys=["a", "b", "c", "d"])
    began = time.monotonic()
    worker = stage.worker()
    stage.wait_settled(worker)
    assert time.monotonic() - began >= 0.6

    started = [(each.number, each.attempt) for each in stage.effects.read("started")]
    assert sorted(started) == [
        (skipped.number, 1),
        *[(later.number, attempt) for attempt in (1, 2)],
        (permanent.number, 1),
        *[(fails.number, attempt) for attempt in (1, 2, 3, 4)],
    ]
    assert stage.handled() == [later.number]
    letters = {letter.event_id: letter for letter in stage.dead_letters()}
    assert {event_id: (each.reason, each.attempts) for event_id, each in letters.items()} == {
        permanent.event_id: (Reason.PERMANENT, 1),
        fails.event_id: (Reason.EXHAUSTED, 4),
    }
    assert letters[fails.event_id].error_message == "told to fail at attempt 4"
    assert "HandlerFailedError: told to fail at attempt 4" in (letters[fails.event_id].stack_trace or "")


def test_a_handlers_own_limits_win_over_the_settings(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(partitions=1, max_attempts=2, delays=(0.05,))
    stage.send("fail")
    stage.wait_settled(stage.worker())
    assert [each.attempt for each in stage.effects.read("started")] == [1, 2]
    assert [letter.attempts for letter in stage.dead_letters()] == [2]


def test_a_group_of_a_priority_settles_other_priorities_without_running(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(partitions=1, priorities=("critical", "high"))
    for priority in ("low", "critical", "normal", "high"):
        stage.send("ok", "fail:1", priority=priority, keys=["key"])
    stage.wait_settled(stage.worker())
    assert stage.effects.done() == [2, 3, 6, 7]
    assert {each.number for each in stage.effects.read("started")} == {2, 3, 6, 7}
    assert stage.dead_letters() == []
