"""Which state follows which, canaries, outcomes and progress: the decisions without database and Kafka."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bus.ledger import GroupStatus, Status
from bus.models import Replay
from bus.replay import states
from bus.replay.canary import verdict
from bus.replay.outcomes import judge
from bus.replay.report import progress_of
from bus.replay.states import TABLE, Verb

State = Replay.State
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "possible"),
    [
        (State.PLANNED, ["run", "cancel"]),
        (State.RUNNING, ["pause", "cancel"]),
        (State.PAUSED, ["resume", "cancel"]),
        (State.WAITING_FOR_CANARY, ["pause", "cancel"]),
        (State.STOPPED_BY_CANARY, ["resume", "cancel"]),
        (State.CANCELLED, []),
        (State.COMPLETED, []),
    ],
)
def test_what_people_can_do_in_each_state(state: str, possible: list[str]) -> None:
    assert states.possible(state) == possible


def test_nothing_follows_what_is_over_and_every_state_can_be_reached() -> None:
    for verb in Verb:
        sources, _ = TABLE[verb]
        assert not sources & {State.CANCELLED, State.COMPLETED}
    assert {target for _, target in TABLE.values()} | {State.PLANNED} == set(State.values)


@pytest.mark.parametrize(
    ("size", "failed", "undecided", "percent", "passed"),
    [
        (10, 0, 3, 0, None),
        (10, 0, 0, 0, True),
        (10, 1, 9, 0, False),
        (10, 2, 8, 20, None),
        (10, 2, 0, 20, True),
        (10, 3, 7, 20, False),
        (10, 10, 0, 100, True),
        (0, 0, 0, 0, True),
    ],
)
def test_a_canary_fails_as_soon_as_too_many_have(
    size: int, failed: int, undecided: int, percent: float, passed: bool | None
) -> None:
    assert verdict(size, failed, undecided, percent) is passed


def in_group(status: Status, generation: int) -> GroupStatus:
    return GroupStatus("billing", status, "orders", generation, (), None, None)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (None, None),
        (in_group(Status.FAILED, 1), None),
        (in_group(Status.PROCESSED, 1), None),
        (in_group(Status.PROCESSING, 2), Status.PROCESSING),
        (in_group(Status.RETRYING, 2), Status.RETRYING),
        (in_group(Status.PROCESSED, 2), Status.PROCESSED),
        (in_group(Status.FAILED, 2), Status.FAILED),
        (in_group(Status.PROCESSED, 3), Status.FAILED),
        (in_group(Status.PROCESSING, 3), Status.FAILED),
    ],
)
def test_the_ledger_is_believed_for_the_generation_that_was_sent(
    status: GroupStatus | None, outcome: Status | None
) -> None:
    assert judge(status, 2) is outcome


def test_progress_says_what_is_left_and_how_long() -> None:
    replay = Replay(
        state=State.RUNNING, total=100, sent=40, handled=20, failed_again_same=3, failed_again_other=2, skipped=10
    )
    replay.speed = 5.0
    progress = progress_of(replay, NOW)
    assert (progress.failed_again, progress.pending, progress.waiting) == (5, 15, 50)
    assert progress.seconds_left == 10.0
    replay.rate = 2.0
    assert progress_of(replay, NOW).seconds_left == 25.0, "it was slowed down"
    replay.rate = 100.0
    assert progress_of(replay, NOW).seconds_left == 10.0
    replay.state = State.PAUSED
    assert progress_of(replay, NOW).seconds_left is None


def test_a_delay_counts_towards_the_time_left() -> None:
    replay = Replay(state=State.RUNNING, total=1, rate=1.0, send_at=NOW + timedelta(seconds=10))
    assert progress_of(replay, NOW).seconds_left == 11.0
