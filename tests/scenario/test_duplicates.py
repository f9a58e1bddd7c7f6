from __future__ import annotations

from collections.abc import Callable

from tests.scenario.stage import Stage


def test_copies_of_an_event_in_several_partitions_and_places_are_handled_once(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(partitions=3)
    for order in ("ok", "slow:0.3", "fail:1", "permanent"):
        event_id = f"{stage.topic}-{order}"
        for partition in (0, 1, 2, 0):
            stage.send(order, partition=partition, event_id=event_id, keys=["key"])
    stage.send("ok", "ok", "ok", keys=["other"])
    worker = stage.worker()
    stage.wait_settled(worker)
    late = stage.send("ok", partition=2, event_id=stage.sent[0].event_id)
    stage.wait_settled(worker)

    done = stage.effects.read("done")
    assert sorted(each.event_id for each in done if each.number is not None and each.number < 16) == sorted(
        f"{stage.topic}-{order}" for order in ("ok", "slow:0.3", "fail:1")
    )
    assert len(done) == 3 + 3
    assert late[0].number not in stage.handled()
    assert [each.attempt for each in stage.effects.read("started") if each.event_id.endswith("fail:1")] == [1, 2]
    assert [letter.event_id for letter in stage.dead_letters()] == [f"{stage.topic}-permanent"]


def test_copies_of_an_event_in_the_hands_of_two_workers_are_handled_once(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(topics=("orders", "payments", "carts"), partitions=2)
    first, second = stage.worker(ready=True), stage.worker(ready=True)
    second.wait_for(lambda: any("replay" not in name for name in second.log("partitions_assigned")[-1]["partitions"]))
    for topic in stage.shop.plan.topics:
        for number in range(20):
            for partition in (0, 1):
                stage.send("slow:0.02", partition=partition, event_id=f"{topic}-{number}", topic=topic)
    stage.wait_settled(first, second)
    done = [each.event_id for each in stage.effects.read("done")]
    assert sorted(done) == sorted(f"{topic}-{number}" for topic in stage.shop.plan.topics for number in range(20))
    assert len(stage.effects.read("started")) == 60
