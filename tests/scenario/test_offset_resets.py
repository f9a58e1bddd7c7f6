"""A group is sent back to the beginning: what it has handled is skipped, or all of it handled again, once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from bus.control.offsets.apply import Move, Reset, apply
from bus.control.offsets.plan import Target, To, plan
from bus.ledger import Ledger
from bus.replay.refusals import NotPossibleError
from tests.processes import wait_until
from tests.scenario.stage import PATIENCE, Stage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]  # several workers, one after the other
KEYS = ["a", "b", "c", None]


def reset(stage: Stage, *, handle_again: bool = False) -> None:
    """Reset as soon as Kafka has noticed that the workers are gone: the embedded one takes the session time-out."""

    def is_done() -> bool:
        try:
            reset_now(stage, handle_again=handle_again)
        except NotPossibleError as error:
            if "Kafka says" not in str(error):
                raise
            return False
        return True

    wait_until(is_done, PATIENCE, "the reset", pause=0.3)


def reset_now(stage: Stage, *, handle_again: bool = False) -> None:
    made = plan(stage.group, Target(To.EARLIEST), Ledger())
    moves = [Move(row.topic, row.partition, row.before, row.after) for row in made.rows]
    apply(Reset(stage.group, moves, made.epoch, handle_again, "ada"), Ledger(), datetime.now(UTC))


@pytest.mark.parametrize("exactly_once", [False, True], ids=["plain", "inbox"])
def test_back_to_the_beginning(open_stage: Callable[..., Stage], *, exactly_once: bool) -> None:
    stage = open_stage(partitions=2, exactly_once=exactly_once)
    stage.send(*["ok", "fail:1", "ok"] * 10, keys=KEYS)
    worker = stage.worker(ready=True)
    stage.wait_settled(worker)
    with pytest.raises(NotPossibleError, match="live worker"):
        reset_now(stage)
    assert worker.sigterm() == 0
    everything = stage.numbers()
    assert stage.handled() == everything
    ends = stage.committed()

    reset(stage)
    assert set(stage.committed().values()) == {0}
    stage.wait_settled(stage_worker := stage.worker(ready=True))
    assert stage.handled() == everything, "what is handled is skipped"
    assert stage_worker.sigterm() == 0

    reset(stage, handle_again=True)
    again = stage.worker(ready=True)
    stage.wait_settled(again)
    assert stage.handled() == sorted(everything * 2), "once more, and no more than that"
    assert stage.committed() == ends
    keyed = {key: numbers for key, numbers in stage.handled_by_key().items() if key}
    assert keyed == {key: numbers * 2 for key, numbers in stage.sent_by_key().items() if key}
    if exactly_once:
        assert len(stage.shop.sales()) == len(everything) * 2

    # A worker that is started anew is in the same epoch.
    assert again.sigterm() == 0
    (late,) = stage.send("ok", keys=["a"])
    stage.wait_settled(stage.worker(ready=True))
    assert stage.handled() == sorted([*everything * 2, late.number])
