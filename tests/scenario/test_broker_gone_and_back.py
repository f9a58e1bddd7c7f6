from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaError

from bus.embedded.kafka import ApiKey, EmbeddedKafka
from tests.kafka.subject import ONLY_EMBEDDED, KafkaUnderTest
from tests.scenario.stage import Stage

# Longer than the broker waits for a silent member.
OUTAGE_SECONDS = 3.5


def test_what_is_in_hand_goes_on_while_the_broker_is_away_and_nothing_is_lost_or_repeated(
    open_stage: Callable[..., Stage], stoppable_kafka: KafkaUnderTest
) -> None:
    stage = open_stage(partitions=2, settings={"BUS_PUBLISH_TIMEOUT": "2"})
    keys = ["a", "b", "c", "d", None]
    stage.send(*["slow:0.05", "fail:1", "slow:0.05", "ok", "permanent"] * 12, keys=keys)
    worker = stage.worker("--concurrency", "2")
    worker.wait_for(lambda: len(stage.effects.done()) >= 5)
    stoppable_kafka.stop()
    gone_at, handled_before = time.monotonic(), len(stage.effects.done())
    worker.wait_for(lambda: len(stage.effects.done()) > handled_before + 10)
    worker.wait_for(lambda: time.monotonic() - gone_at > OUTAGE_SECONDS)
    stoppable_kafka.start()
    stage.send(*["ok"] * 10, keys=keys)
    stage.wait_settled(worker)

    permanent = {each.number for each in stage.sent if each.order == "permanent"}
    assert stage.handled() == [number for number in stage.numbers() if number not in permanent]
    attempts: dict[int | None, list[int]] = {}
    for each in stage.effects.read("started"):
        attempts.setdefault(each.number, []).append(each.attempt)
    assert attempts == {each.number: [1, 2] if each.order == "fail:1" else [1] for each in stage.sent}
    letters = stage.dead_letters()
    assert {letter.event_id for letter in letters} == {stage.sent[number].event_id for number in permanent}
    assert len(letters) == len(permanent)
    assert worker.sigterm(10) == 0


def test_a_worker_stops_within_its_drain_time_while_the_broker_is_away(
    open_stage: Callable[..., Stage], stoppable_kafka: KafkaUnderTest
) -> None:
    stage = open_stage(partitions=1, settings={"BUS_DRAIN_SECONDS": "1", "BUS_PUBLISH_TIMEOUT": "2"})
    stage.send("ok", "ok", "slow:0.5")
    worker = stage.worker()
    worker.wait_for(lambda: len(stage.effects.read("started")) == 3)
    stoppable_kafka.stop()
    worker.wait_for(lambda: stage.handled() == [0, 1, 2])
    assert worker.sigterm(15) == 0
    stoppable_kafka.start()
    stage.wait_settled(stage.worker())
    assert stage.handled() == [0, 1, 2]


@ONLY_EMBEDDED
def test_a_commit_that_fails_is_made_again_without_a_later_event(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(partitions=1)
    assert isinstance(stage.kafka.server, EmbeddedKafka)
    worker = stage.worker(ready=True)
    stage.kafka.server.push_request_errors(ApiKey.OFFSET_COMMIT, [KafkaError.STALE_MEMBER_EPOCH] * 3)
    stage.send("ok")
    stage.wait_settled(worker, seconds=5)
    assert stage.handled() == [0]
