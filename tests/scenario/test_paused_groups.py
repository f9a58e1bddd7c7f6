"""Somebody pauses a group or one of its topics: workers obey within 2 s, and afterwards nothing is lost or repeated."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from bus.control import pauses
from bus.ledger import Ledger
from bus.presence import Presence
from tests.processes import wait_until
from tests.scenario.stage import PATIENCE, Stage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]  # several workers, one after the other
KEYS = ["a", "b", "c", "d", None]


def pause(stage: Stage, topic: str = "") -> None:
    assert pauses.pause(stage.group, topic, "ada", "a test", datetime.now(UTC), Ledger().mirror).is_told


def resume(stage: Stage, topic: str = "") -> None:
    assert pauses.resume(stage.group, topic, "ada", "", datetime.now(UTC), Ledger().mirror).is_told


def said_paused(stage: Stage) -> list[tuple[str, ...]]:
    """What live workers say they have paused of the group."""
    return [tuple(each.paused) for entry in Presence(Ledger()).all() for each in entry.groups]


def wait_quiet(stage: Stage, seconds: float = 1.0) -> int:
    """Wait until no handler has begun for a while; how many have."""
    seen, since = -1, time.monotonic()
    deadline = since + PATIENCE
    while time.monotonic() - since < seconds:
        assert time.monotonic() < deadline, "handlers begin on and on"
        now = len(stage.effects.read("started"))
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.05)
    return seen


def test_a_pause_holds_across_a_restart_and_nothing_is_lost_or_repeated(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(partitions=2)
    stage.send(*["slow:0.02", "fail:1", "slow:0.02"] * 100, keys=KEYS)
    worker = stage.worker("--concurrency", "4")
    worker.wait_for(lambda: len(stage.effects.done()) >= 10)
    pause(stage)
    asked = time.monotonic()
    worker.wait_for(lambda: bool(worker.log("group_paused")))
    print(f"the worker obeyed after {time.monotonic() - asked:.2f} s")
    before = wait_quiet(stage)
    assert before < 300, "everything was handled before the pause"
    wait_until(lambda: said_paused(stage) == [("",)], PATIENCE, "the worker's word")
    assert worker.log("partitions_revoked") == worker.log("partitions_lost") == []

    assert worker.sigterm() == 0
    again = stage.worker("--concurrency", "4", ready=True)
    wait_until(lambda: said_paused(stage) == [("",)], PATIENCE, "the new worker's word")
    assert wait_quiet(stage) == before

    resume(stage)
    stage.wait_settled(again)
    assert stage.handled() == stage.numbers()
    keyed = {key: numbers for key, numbers in stage.handled_by_key().items() if key}
    assert keyed == {key: numbers for key, numbers in stage.sent_by_key().items() if key}


def test_of_a_paused_topic_neither_retries_nor_replays_begin_and_the_other_topic_goes_on(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(topics=("orders", "refunds"), partitions=1, settings={"BUS_RETRY_DELAYS": "1"})
    orders, refunds = stage.shop.plan.topics
    dead, waiting = stage.send("fail-live", "fail:1", keys=["a", "b"], topic=orders)
    worker = stage.worker(ready=True)
    worker.wait_for(lambda: len(stage.dead_letters(orders)) == 1)
    # One more that waits for its retry while the pause begins.
    (late,) = stage.send("fail:1", keys=["c"], topic=orders)
    worker.wait_for(lambda: late.number in [each.number for each in stage.effects.read("started")])
    pause(stage, orders)
    worker.wait_for(lambda: bool(worker.log("group_paused")))
    stage.replay(stage.dead_letters(orders)[0])
    (held,) = stage.send("ok", keys=["d"], topic=orders)
    free = stage.send(*["ok"] * 5, keys=KEYS, topic=refunds)
    worker.wait_for(lambda: {each.number for each in free} <= set(stage.handled()))
    wait_until(lambda: said_paused(stage) == [(orders,)], PATIENCE, "the worker's word")
    wait_quiet(stage, 2.0)
    assert not {dead.number, late.number, held.number} & set(stage.handled())

    resume(stage, orders)
    stage.wait_settled(worker)
    assert stage.handled() == stage.numbers()
    assert stage.numbers(waiting)[0] in stage.handled()


def test_a_worker_that_joins_while_its_group_is_paused_starts_nothing(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(partitions=4)
    first = stage.worker(ready=True)
    pause(stage)
    first.wait_for(lambda: bool(first.log("group_paused")))
    stage.send(*["ok"] * 40, keys=KEYS)
    second = stage.worker(ready=True)
    assert wait_quiet(stage) == 0

    resume(stage)
    stage.wait_settled(first, second)
    assert stage.handled() == stage.numbers()
