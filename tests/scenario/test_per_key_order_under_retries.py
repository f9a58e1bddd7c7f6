from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.scenario.stage import Stage

KEYS = [f"key-{number}" for number in range(12)]
ORDERS = ["ok"] * 6 + ["fail:1", "fail:2", "later:0.05", "slow:0.01", "permanent", "fail"]


@pytest.mark.parametrize("seed", [1, 2])
def test_events_of_a_key_are_handled_in_the_order_of_their_offsets_whatever_fails(
    open_stage: Callable[..., Stage], seed: int
) -> None:
    stage = open_stage(partitions=3)
    stage.send(*random.Random(seed).choices(ORDERS, k=240), keys=KEYS)
    worker = stage.worker("--concurrency", "6")
    stage.wait_settled(worker)

    ends_well = {each.number for each in stage.sent if each.order not in ("permanent", "fail")}
    wanted = {
        key: sorted(
            (each for each in stage.sent if each.key == key and each.number in ends_well),
            key=lambda each: each.position.offset,
        )
        for key in KEYS
    }
    assert stage.handled_by_key() == {key: stage.numbers(*sent) for key, sent in wanted.items() if sent}
    assert len(stage.dead_letters()) == len(stage.sent) - len(ends_well)
    assert_nothing_ran_beside_its_own_key(stage)


def assert_nothing_ran_beside_its_own_key(stage: Stage) -> None:
    """Between an event's first attempt and its last no other event of its key was started."""
    key_of = {each.number: each.key for each in stage.sent}
    starts: dict[str | None, list[int]] = {}
    for each in stage.effects.read("started"):
        assert each.number is not None
        starts.setdefault(key_of[each.number], []).append(each.number)
    for key, numbers in starts.items():
        assert numbers == sorted(numbers), key


def test_a_key_that_waits_for_its_retry_holds_up_no_other_key(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(partitions=1, settings={"BUS_RETRY_DELAYS": "1.5"})
    stage.send("fail:1", "ok", keys=["waits"])
    stage.send(*["ok"] * 40, keys=["a", "b", None])
    worker = stage.worker()
    worker.wait_for(lambda: len(stage.handled()) >= 40)
    assert 0 not in stage.handled()
    assert 1 not in stage.handled()
    stage.wait_settled(worker)
    assert stage.handled() == stage.numbers()
    assert stage.effects.done()[-2:] == [0, 1]
