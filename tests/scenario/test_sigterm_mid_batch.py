from __future__ import annotations

from collections.abc import Callable

from tests.scenario.stage import Stage


def test_what_runs_is_finished_and_committed_and_the_rest_is_left_for_the_next_worker(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(partitions=2)
    stage.send(*["slow:0.05"] * 120, keys=["a", "b", "c", "d", None])
    first = stage.worker("--concurrency", "4", ready=True)
    first.wait_for(lambda: len(stage.handled()) >= 20)
    assert first.sigterm(5) == 0

    handled = stage.handled()
    assert len(handled) < 60
    assert sorted(each.number for each in stage.effects.read("started") if each.number is not None) == handled
    # Everything before the committed offset was handled.
    committed = stage.committed()
    before = [each.number for each in stage.sent if each.position.offset < committed.get(each.position.partition, 0)]
    assert before
    assert set(before) <= set(handled)

    second = stage.worker("--concurrency", "20")
    stage.wait_settled(second)
    assert stage.handled() == stage.numbers()
    assert len(stage.effects.read("started")) == 120
    keyed = {key: numbers for key, numbers in stage.handled_by_key().items() if key}
    assert keyed == {key: numbers for key, numbers in stage.sent_by_key().items() if key}


def test_a_handler_that_outlives_the_drain_keeps_its_event_until_its_lease_lapses(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(partitions=1, settings={"BUS_DRAIN_SECONDS": "0.2", "BUS_LEASE_SECONDS": "1"})
    stage.send("hang:60", "ok", keys=["stuck", "free"])
    first = stage.worker(ready=True)
    first.wait_for(lambda: stage.handled() == [1] and len(stage.effects.read("started")) == 2)
    assert first.sigterm(10) == 0
    assert stage.committed().get(0, 0) == 0

    second = stage.worker()
    stage.wait_settled(second)
    assert stage.handled() == [0, 1]
    assert stage.committed() == {0: 2}
    assert stage.dead_letters() == []
