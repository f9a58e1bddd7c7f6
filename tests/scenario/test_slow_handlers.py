from __future__ import annotations

from collections.abc import Callable

from bus.deadletters import Reason
from tests.scenario.stage import Stage


def test_a_handler_slower_than_max_poll_interval_costs_no_membership_and_runs_once(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(partitions=1, settings={"BUS_MAX_POLL_INTERVAL_MS": "1000", "BUS_WINDOW_EVENTS": "5"})
    # More events than the window holds: the partition is paused while the slow one runs.
    stage.send("slow:2.5", *["ok"] * 3, "slow:2.5", *["ok"] * 20, keys=["a", "b"])
    worker = stage.worker("--concurrency", "4")
    stage.wait_settled(worker)
    assert stage.handled() == stage.numbers()
    assert len(stage.effects.read("started")) == len(stage.sent)
    assert stage.handled_by_key() == stage.sent_by_key()
    assert worker.log("partitions_revoked") == worker.log("partitions_lost") == []
    assert len(worker.log("partitions_assigned")) == 1


def test_a_timeout_cancels_an_async_handler_and_counts_as_a_failed_attempt(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(partitions=1, is_async=True, timeout=0.2)
    stage.send("slow:60", "hang:60", "ok", "slow:0.01", keys=["a", "b", "c"])
    worker = stage.worker()
    stage.wait_settled(worker)
    assert stage.handled() == [1, 2, 3]
    started = [(each.number, each.attempt) for each in stage.effects.read("started")]
    assert sorted(started) == [*[(0, attempt) for attempt in (1, 2, 3, 4)], (1, 1), (1, 2), (2, 1), (3, 1)]
    # The fourth event has the key of the first, and waited for its end.
    assert stage.effects.read("started")[-1].number == 3
    [letter] = stage.dead_letters()
    assert (letter.event_id, letter.reason) == (stage.sent[0].event_id, Reason.EXHAUSTED)
    assert letter.error_type == "TimeoutError"
    assert worker.sigterm(5) == 0


def test_a_sync_handler_beyond_its_timeout_is_reported_once_keeps_its_key_and_holds_up_no_other(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(partitions=1, timeout=0.3)
    stage.send("slow:1.5", *["ok"] * 40, keys=["a", "b"])
    stage.send("slow:0.05", keys=["b"])
    worker = stage.worker("--concurrency", "2")
    worker.wait_for(lambda: len(worker.log("handler_stuck")) == 1)
    worker.wait_for(lambda: stage.handled_by_key().get("b") == stage.sent_by_key()["b"])
    assert stage.handled_by_key().get("a") is None
    stage.wait_settled(worker)
    assert stage.handled() == stage.numbers()
    assert stage.handled_by_key() == stage.sent_by_key()
    [stuck], [unstuck] = worker.log("handler_stuck"), worker.log("handler_unstuck")
    assert stuck["event_id"] == unstuck["event_id"] == stage.sent[0].event_id
    assert stage.dead_letters() == []


def test_a_stuck_handler_never_runs_beside_itself_when_its_partition_moves(open_stage: Callable[..., Stage]) -> None:
    # A stuck event in each partition, so that those which move have one.
    stage = open_stage(
        topics=("orders", "payments", "carts"), partitions=2, settings={"BUS_DRAIN_SECONDS": "0.2"}, timeout=0.3
    )
    for topic in stage.shop.plan.topics:
        for partition in (0, 1):
            stage.send("hang:4", "ok", keys=["key"], partition=partition, topic=topic)
    first = stage.worker(ready=True)
    first.wait_for(lambda: len(first.log("handler_stuck")) == 6)
    second = stage.worker(ready=True)
    second.wait_for(lambda: any("replay" not in name for name in second.log("partitions_assigned")[-1]["partitions"]))
    stage.wait_settled(second)
    assert stage.handled() == stage.numbers()
    starts = [each.number for each in stage.effects.read("started")]
    assert sorted(number for number in starts if number is not None) == stage.numbers()
    assert second.log("event_suspected") == []
