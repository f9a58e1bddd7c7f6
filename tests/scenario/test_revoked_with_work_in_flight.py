from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable

from tests.processes import wait_until
from tests.scenario.stage import PATIENCE, Stage

TOPICS = ("orders", "payments", "carts")


def send_to_each_partition(stage: Stage, *orders: str) -> None:
    for topic in stage.shop.plan.topics:
        for partition in (0, 1):
            stage.send(*orders, keys=["key"], partition=partition, topic=topic)


def test_a_worker_that_dies_while_it_hands_over_loses_nothing(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(topics=TOPICS, partitions=2, settings={"BUS_LEASE_SECONDS": "1"})
    send_to_each_partition(stage, "hang:60", "ok")
    first = stage.worker(crash_at=["bus.consumer.runner:Runner._on_revoke:before"])
    first.wait_for(lambda: len(stage.effects.read("started")) == 6)
    second = stage.worker()
    assert first.wait(PATIENCE) == -signal.SIGKILL
    stage.wait_settled(second)
    assert stage.handled() == stage.numbers()
    offsets: dict[tuple[str, int], list[int]] = {}
    for each in stage.effects.read("done"):
        offsets.setdefault((each.topic, each.partition), []).append(each.offset)
    assert list(offsets.values()) == [[0, 1]] * 6
    for topic in stage.shop.plan.topics:
        assert stage.dead_letters(topic) == []


def test_a_worker_that_was_frozen_for_too_long_repeats_at_most_what_it_was_running(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(topics=TOPICS, partitions=2, settings={"BUS_LEASE_SECONDS": "1"})
    send_to_each_partition(stage, "hang:2", *["slow:0.01"] * 20)
    first = stage.worker("--concurrency", "6")
    first.wait_for(lambda: len(stage.effects.read("started")) == 6)
    in_flight = {each.number for each in stage.effects.read("started")}
    first.freeze()
    second = stage.worker("--concurrency", "6")
    second.wait_for(lambda: len(set(stage.handled())) == len(stage.sent), PATIENCE)
    first.thaw()
    # The frozen one wakes up, finishes what it ran, and learns that it is somebody else's by now.
    wait_until(lambda: len(first.log("partitions_assigned")) > 1, PATIENCE, "the frozen worker's return")
    send_to_each_partition(stage, "ok", "ok")
    stage.wait_settled(second)

    times = Counter(stage.handled())
    assert sorted(times) == stage.numbers()
    assert {number for number, count in times.items() if count > 1} <= in_flight
    assert max(times.values()) <= 2
    for topic in stage.shop.plan.topics:
        assert stage.dead_letters(topic) == []
    assert first.sigterm(10) == second.sigterm(10) == 0
