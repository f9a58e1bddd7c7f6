from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.redis_server import RedisServer
from tests.scenario.stage import Stage

# Longer than the broker waits for a silent member, and than a lease.
OUTAGE_SECONDS = 3.5


@pytest.mark.parametrize("accident", ["killed", "frozen"])
def test_nothing_is_lost_repeated_or_counted_while_redis_is_away_and_the_membership_is_kept(
    open_stage: Callable[..., Stage], stoppable_redis: RedisServer, accident: str
) -> None:
    go, come_back = {
        "killed": (stoppable_redis.stop, stoppable_redis.start),
        "frozen": (stoppable_redis.freeze, stoppable_redis.thaw),
    }[accident]
    stage = open_stage(partitions=2, settings={"REDIS_URL": stoppable_redis.url, "BUS_LEASE_SECONDS": "1"})
    keys = ["a", "b", "c", "d", None]
    stage.send(*["slow:0.05", "fail:1", "slow:0.05", "ok", "permanent"] * 12, keys=keys)
    worker = stage.worker("--concurrency", "4")
    worker.wait_for(lambda: len(stage.effects.done()) >= 10)
    go()
    gone_at = time.monotonic()
    stage.send(*["ok"] * 10, keys=keys)
    worker.wait_for(lambda: bool(worker.log("ledger_unavailable")))
    worker.wait_for(lambda: time.monotonic() - gone_at > OUTAGE_SECONDS)
    come_back()
    stage.wait_settled(worker)

    assert len(worker.log("ledger_unavailable")) == len(worker.log("ledger_back")) == 1
    assert worker.log("partitions_revoked") == worker.log("partitions_lost") == []
    permanent = {each.number for each in stage.sent if each.order == "permanent"}
    assert stage.handled() == [number for number in stage.numbers() if number not in permanent]
    attempts: dict[int | None, list[int]] = {}
    for each in stage.effects.read("started"):
        attempts.setdefault(each.number, []).append(each.attempt)
    assert attempts == {each.number: [1, 2] if each.order == "fail:1" else [1] for each in stage.sent}
    assert {letter.event_id for letter in stage.dead_letters()} == {stage.sent[number].event_id for number in permanent}
    assert len(stage.dead_letters()) == len(permanent)
    keyed = {key: numbers for key, numbers in stage.handled_by_key().items() if key}
    assert all(numbers == sorted(numbers) for numbers in keyed.values())


def test_a_worker_that_starts_without_redis_waits_for_it(
    open_stage: Callable[..., Stage], stoppable_redis: RedisServer
) -> None:
    stoppable_redis.stop()
    stage = open_stage(partitions=1, settings={"REDIS_URL": stoppable_redis.url})
    stage.send("ok", "ok")
    worker = stage.worker()
    worker.wait_for(lambda: bool(worker.log("ledger_unavailable")))
    assert stage.effects.read() == []
    stoppable_redis.start()
    stage.wait_settled(worker)
    assert stage.handled() == [0, 1]


def test_a_worker_stops_within_its_drain_time_while_redis_is_away(
    open_stage: Callable[..., Stage], stoppable_redis: RedisServer
) -> None:
    stage = open_stage(partitions=1, settings={"REDIS_URL": stoppable_redis.url, "BUS_DRAIN_SECONDS": "1"})
    stage.send("ok")
    worker = stage.worker()
    stage.wait_settled(worker)
    stoppable_redis.stop()
    stage.send("ok")
    worker.wait_for(lambda: bool(worker.log("ledger_unavailable")))
    assert worker.sigterm(8) == 0
    stoppable_redis.start()
    stage.wait_settled(stage.worker())
    assert stage.handled() == [0, 1]


def test_with_process_as_the_setting_events_are_handled_without_redis(
    open_stage: Callable[..., Stage], stoppable_redis: RedisServer
) -> None:
    settings = {"REDIS_URL": stoppable_redis.url, "BUS_ON_REDIS_DOWN": "process"}
    stage = open_stage(partitions=1, settings=settings)
    stage.send("ok", "fail:1", "permanent")
    worker = stage.worker()
    stage.wait_settled(worker)
    stoppable_redis.stop()
    stage.send("ok", "fail:1", "permanent", "ok")
    stage.wait_settled(worker)
    assert stage.handled() == [0, 1, 3, 4, 6]
    assert len(stage.dead_letters()) == 2
