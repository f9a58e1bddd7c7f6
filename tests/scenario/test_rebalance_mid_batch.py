from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

from tests.scenario.stage import Stage

BATCH = 25


def test_each_event_is_handled_once_and_in_order_while_a_second_worker_joins_and_leaves(
    open_stage: Callable[..., Stage],
) -> None:
    # More partitions with events than without (those of the replay topic), so that the second worker gets some.
    stage = open_stage(topics=("orders", "payments", "carts"), partitions=2)
    first = stage.worker(ready=True)
    topics = cycle(stage.shop.plan.topics)

    def keep_sending(enough: Callable[[], bool]) -> None:
        def send() -> bool:
            topic = next(topics)
            stage.send(*["slow:0.002"] * BATCH, keys=[f"{topic}-{number}" for number in range(7)], topic=topic)
            return enough()

        first.wait_for(send)

    keep_sending(lambda: len(stage.sent) >= 4 * BATCH)
    second = stage.worker()
    keep_sending(lambda: sum(each.pid == second.pid for each in stage.effects.read("done")) > BATCH)
    held_before = len(first.log("partitions_assigned"))
    assert second.sigterm() == 0
    keep_sending(lambda: len(first.log("partitions_assigned")) > held_before)
    stage.wait_settled(first)

    assert stage.handled() == stage.numbers()
    assert len(stage.effects.read("started")) == len(stage.sent)
    assert stage.handled_by_key() == stage.sent_by_key()
    assert {each.pid for each in stage.effects.read("done")} == {first.pid, second.pid}
    for topic in stage.shop.plan.topics:
        assert stage.dead_letters(topic) == []
