from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource

from bus.embedded.kafka import ApiKey, EmbeddedKafka
from tests.kafka.contact import admin
from tests.kafka.subject import ONLY_EMBEDDED, ONLY_REAL
from tests.processes import wait_until
from tests.scenario.stage import PATIENCE, Stage

SETTINGS = {"BUS_PUBLISH_TIMEOUT": "2"}


def allow_bytes(client: AdminClient, topic: str, limit: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    client.incremental_alter_configs([resource])[resource].result(10)


@contextmanager
def too_small(stage: Stage, topic: str) -> Iterator[None]:
    """No record fits into the topic."""
    client = admin(stage.kafka.bootstrap)
    allow_bytes(client, topic, 10)
    yield
    allow_bytes(client, topic, 2_200_000)


@contextmanager
def missing(stage: Stage, topic: str) -> Iterator[None]:
    """Nobody created the topic, or somebody deleted it."""
    client = admin(stage.kafka.bootstrap)
    client.delete_topics([topic], operation_timeout=10)[topic].result(15)
    wait_until(lambda: topic not in client.list_topics(timeout=5).topics, PATIENCE, "the topic's end", pause=0.1)
    yield
    stage.kafka.create_topic(topic, 1, {"max.message.bytes": "2200000"})


@contextmanager
def forbidden(stage: Stage, topic: str) -> Iterator[None]:
    """The worker may not write to the topic."""
    assert isinstance(stage.kafka.server, EmbeddedKafka)
    stage.kafka.server.set_topic_error(topic, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    yield
    stage.kafka.server.set_topic_error(topic)


@contextmanager
def failing(stage: Stage, topic: str) -> Iterator[None]:
    """The broker fails at whatever is written."""
    assert isinstance(stage.kafka.server, EmbeddedKafka)
    stage.kafka.server.push_request_errors(ApiKey.PRODUCE, [KafkaError.NOT_ENOUGH_REPLICAS] * 1000)
    yield
    stage.kafka.server.clear_request_errors(ApiKey.PRODUCE)


def play(stage: Stage, unwritable: Callable[[Stage, str], object]) -> None:
    stage.send("ok", "permanent", keys=["a", "b"])
    stage.send("ok", "ok", "fail", "ok", "ok", keys=["b", "a", "c", "d", "c"])
    with unwritable(stage, f"{stage.topic}.dlq"):  # type: ignore[attr-defined]
        worker = stage.worker()
        worker.wait_for(lambda: len(worker.log("dead_letter_not_written")) >= 3)
        worker.wait_for(lambda: stage.committed() == {0: 1})
        assert stage.handled() == [0, 3, 5]
        assert len(stage.effects.read("started")) == 3 + 1 + 4
    stage.wait_settled(worker)

    letters = stage.dead_letters()
    assert [letter.event_id for letter in letters] == [stage.sent[1].event_id, stage.sent[4].event_id]
    assert stage.handled() == [0, 2, 3, 5, 6]
    assert len(stage.effects.read("started")) == 3 + 1 + 4 + 2
    assert worker.log("partitions_revoked") == worker.log("partitions_lost") == []
    assert worker.sigterm(10) == 0
    assert stage.committed() == {0: 7}


@ONLY_REAL
@pytest.mark.parametrize("unwritable", [too_small, missing])
def test_nothing_is_committed_past_a_dead_letter_that_kafka_refuses(
    open_stage: Callable[..., Stage], unwritable: Callable[[Stage, str], object]
) -> None:
    play(open_stage(partitions=1, settings=SETTINGS), unwritable)


@ONLY_EMBEDDED
@pytest.mark.parametrize("unwritable", [forbidden, failing])
def test_nothing_is_committed_past_a_dead_letter_that_the_broker_fails_to_write(
    open_stage: Callable[..., Stage], unwritable: Callable[[Stage, str], object]
) -> None:
    play(open_stage(partitions=1, settings=SETTINGS), unwritable)


@ONLY_EMBEDDED
def test_what_waits_for_its_dead_letter_is_left_to_the_next_worker(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(partitions=1, settings={**SETTINGS, "BUS_DRAIN_SECONDS": "0.3"})
    stage.send("permanent", "ok", keys=["a", "b"])
    with forbidden(stage, f"{stage.topic}.dlq"):
        first = stage.worker()
        first.wait_for(lambda: bool(first.log("dead_letter_not_written")) and stage.handled() == [1])
        assert first.sigterm(15) == 0
        assert stage.committed().get(0, 0) == 0
    stage.wait_settled(stage.worker())
    assert [letter.event_id for letter in stage.dead_letters()] == [stage.sent[0].event_id]
    assert stage.handled() == [1]
