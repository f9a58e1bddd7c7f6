from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from bus.embedded import librdkafka
from bus.embedded.kafka import ApiKey, EmbeddedKafka
from bus.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(topics={"orders": 2}) as cluster:
        yield cluster


def producer(bootstrap: str, **config: Any) -> Producer:
    return Producer({"bootstrap.servers": bootstrap, "log_level": 0, "linger.ms": 0, **config})


def consumer(bootstrap: str, **config: Any) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"group-{uuid.uuid4().hex}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "log_level": 0,
            **config,
        }
    )


def delivery(client: Producer, topic: str, value: bytes, **where: Any) -> KafkaError | None:
    outcome: list[KafkaError | None] = []
    client.produce(topic, value, on_delivery=lambda error, _: outcome.append(error), **where)
    client.flush(10)
    return outcome[0]


def partitions_of(bootstrap: str) -> dict[str, int]:
    topics = producer(bootstrap).list_topics(timeout=10).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}


def test_a_topic_has_the_partitions_it_was_created_with(kafka: EmbeddedKafka) -> None:
    kafka.create_topic("payments", 7)
    assert partitions_of(kafka.bootstrap) == {"orders": 2, "payments": 7}


def test_a_topic_that_exists_is_not_created_again(kafka: EmbeddedKafka) -> None:
    with pytest.raises(OSError, match="orders"):
        kafka.create_topic("orders")


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_first_member_joins_without_waiting(kafka: EmbeddedKafka, protocol: str) -> None:
    assert delivery(producer(kafka.bootstrap), "orders", b"one") is None
    member = consumer(kafka.bootstrap, **{"group.protocol": protocol})
    member.subscribe(["orders"])
    started = time.monotonic()
    record = member.poll(10)
    # The mock cluster's own default is 3 s.
    assert time.monotonic() - started < 2.5
    assert record is not None
    assert record.value() == b"one"
    member.close()


def test_a_broker_that_is_down_refuses_and_comes_back_with_what_it_stored(kafka: EmbeddedKafka) -> None:
    client = producer(kafka.bootstrap, **{"message.timeout.ms": 500})
    assert delivery(client, "orders", b"before") is None
    kafka.set_broker_down(True)
    error = delivery(client, "orders", b"during")
    assert error is not None
    assert error.code() == KafkaError._MSG_TIMED_OUT
    kafka.set_broker_down(False)
    reader = consumer(kafka.bootstrap)
    reader.subscribe(["orders"])
    record = reader.poll(10)
    assert record is not None
    assert record.value() == b"before"
    reader.close()


def test_a_pushed_error_meets_the_next_commit_and_only_that(kafka: EmbeddedKafka) -> None:
    delivery(producer(kafka.bootstrap), "orders", b"one")
    member = consumer(kafka.bootstrap)
    member.subscribe(["orders"])
    assert member.poll(10) is not None
    kafka.push_request_errors(ApiKey.OFFSET_COMMIT, [KafkaError.REBALANCE_IN_PROGRESS])
    with pytest.raises(KafkaException, match="REBALANCE_IN_PROGRESS"):
        member.commit(asynchronous=False)
    member.commit(asynchronous=False)
    member.close()


def test_cleared_errors_are_not_met(kafka: EmbeddedKafka) -> None:
    kafka.push_request_errors(ApiKey.PRODUCE, [KafkaError.MSG_SIZE_TOO_LARGE])
    kafka.clear_request_errors(ApiKey.PRODUCE)
    assert delivery(producer(kafka.bootstrap), "orders", b"one") is None


def test_a_topic_in_error_refuses_until_the_error_ends(kafka: EmbeddedKafka) -> None:
    kafka.set_topic_error("orders", KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert producer(kafka.bootstrap).list_topics("orders", timeout=10).topics["orders"].error is not None
    kafka.set_topic_error("orders")
    assert producer(kafka.bootstrap).list_topics("orders", timeout=10).topics["orders"].error is None


def test_answers_come_later_by_the_delay_set(kafka: EmbeddedKafka) -> None:
    client = producer(kafka.bootstrap)
    delivery(client, "orders", b"one")
    kafka.set_delay(0.4)
    started = time.monotonic()
    assert delivery(client, "orders", b"two") is None
    assert time.monotonic() - started > 0.3


def test_several_brokers_share_one_cluster() -> None:
    with EmbeddedKafka(brokers=3, topics=["orders"]) as kafka:
        assert len(kafka.bootstrap.split(",")) == 3
        metadata = producer(kafka.bootstrap).list_topics("orders", timeout=10)
        assert len(metadata.brokers) == 3
        assert [len(partition.replicas) for partition in metadata.topics["orders"].partitions.values()] == [3] * 4


def test_partitions_of_a_broker_that_is_down_wait_for_it_and_others_do_not() -> None:
    with EmbeddedKafka(brokers=3, topics=["orders"]) as kafka:
        client = producer(kafka.bootstrap, **{"message.timeout.ms": 1000})
        partitions = client.list_topics("orders", timeout=10).topics["orders"].partitions.values()
        leader = next(iter(partitions)).leader
        kafka.set_broker_down(True, broker=leader)
        for partition in partitions:
            error = delivery(client, "orders", b"one", partition=partition.id)
            assert (error is None) == (partition.leader != leader)


def test_no_broker_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        EmbeddedKafka(brokers=0)


def test_without_the_library_it_serves_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(librdkafka, "open_library", lambda: None)
    with EmbeddedKafka(topics=["orders"]) as kafka:
        assert not kafka.has_controls
        assert delivery(producer(kafka.bootstrap), "orders", b"one") is None
        with pytest.raises(ConfigurationError, match="wheel"):
            kafka.create_topic("payments", 7)
        with pytest.raises(ConfigurationError, match="wheel"):
            kafka.set_broker_down(True)


def test_the_wheel_carries_the_library() -> None:
    assert librdkafka.open_library() is not None


def start_process(folder: Path) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    topics, ready = folder / "topics.json", folder / "kafka.json"
    topics.write_text(json.dumps({"orders": 3}))
    command = [sys.executable, "-m", "bus.embedded.kafka", "--topics-json", str(topics), "--ready-file", str(ready)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not ready.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert stat.S_IMODE(ready.stat().st_mode) == 0o600
    return process, json.loads(ready.read_text())


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_process_of_its_own_serves_until_it_is_told_to_stop(tmp_path: Path, stop: signal.Signals) -> None:
    process, ready = start_process(tmp_path)
    try:
        assert ready["pid"] == process.pid
        assert partitions_of(ready["bootstrap"]) == {"orders": 3}
        os.kill(process.pid, stop)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()


def test_a_killed_members_partitions_move_within_seconds(kafka: EmbeddedKafka) -> None:
    # Its own heartbeat never comes again: a process of its own, killed without leaving the group.
    group = f"group-{uuid.uuid4().hex}"
    program = f"""
from tests.unit.test_embedded_kafka import consumer
member = consumer({kafka.bootstrap!r}, **{{"group.protocol": "consumer", "group.id": {group!r}}})
member.subscribe(["orders"])
while not member.assignment():
    member.poll(0.1)
print("joined", flush=True)
while True:
    member.poll(0.1)
"""
    first = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == b"joined\n"
    first.kill()
    first.communicate()
    member = consumer(kafka.bootstrap, **{"group.protocol": "consumer", "group.id": group})
    member.subscribe(["orders"])
    deadline = time.monotonic() + 15
    while len(member.assignment()) < 2:
        assert time.monotonic() < deadline
        member.poll(0.1)
    member.close()
