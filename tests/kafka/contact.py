"""Plain calls that the tests make to any Kafka, real or embedded, past the product."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

ANY_PARTITION = -1
# librdkafka's complaints about a broker that isn't up yet are expected here, and would only confuse a report.
_silent = logging.getLogger("tests.kafka.silent")
_silent.propagate = False
_silent.addHandler(logging.NullHandler())


def admin(bootstrap: str) -> AdminClient:
    """An admin client that keeps its log to itself."""
    return AdminClient({"bootstrap.servers": bootstrap, "reconnect.backoff.max.ms": 500}, logger=_silent)


def brokers_seen(bootstrap: str, count: int, seconds: float) -> None:
    """Wait until the cluster counts that many brokers. Raises TimeoutError."""
    client = admin(bootstrap)
    deadline = time.monotonic() + seconds
    seen = 0
    while time.monotonic() < deadline:
        try:
            seen = len(client.list_topics(timeout=2).brokers)
        except KafkaException:
            seen = 0
        if seen == count:
            return
        time.sleep(0.1)
    raise TimeoutError(f"{bootstrap}: {seen} of {count} brokers after {seconds:g} s")


def create_topic(bootstrap: str, name: str, partitions: int, replicas: int, config: dict[str, str]) -> None:
    """Create a topic and wait until every partition has a leader. Raises KafkaException or TimeoutError."""
    client = admin(bootstrap)
    new = NewTopic(name, num_partitions=partitions, replication_factor=replicas, config=config)
    client.create_topics([new], operation_timeout=10)[name].result(15)
    wait_for_leaders(client, name, partitions)


def wait_for_leaders(client: AdminClient, name: str, partitions: int, seconds: float = 15) -> None:
    """Wait until the topic has that many partitions, each with a leader. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        known = client.list_topics(name, timeout=5).topics[name].partitions
        if len(known) == partitions and all(partition.leader >= 0 for partition in known.values()):
            return
        time.sleep(0.05)
    raise TimeoutError(f"topic {name} has no leader for each of {partitions} partitions after {seconds:g} s")


def produce(
    bootstrap: str,
    topic: str,
    values: Iterable[bytes | None],
    key: bytes | None = None,
    headers: list[tuple[str, str | bytes | None]] | None = None,
    partition: int = ANY_PARTITION,
    first_at_ms: int = 0,
) -> None:
    """Write records as a foreign producer would, and wait for the acknowledgements. Raises AssertionError.

    With `first_at_ms` the records say that they were made at that time, and one second after the other.
    """
    refused: list[str] = []
    client = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 3_000_000}, logger=_silent)
    for number, value in enumerate(values):
        client.produce(
            topic,
            value,
            key,
            partition,
            headers=headers,
            timestamp=first_at_ms + number * 1000 if first_at_ms else 0,
            on_delivery=lambda error, _: refused.append(str(error)) if error else None,
        )
        client.poll(0)
    assert client.flush(15) == 0, f"{topic}: records were not acknowledged within 15 s"
    assert not refused, refused


def records_of(bootstrap: str, topic: str, count: int, seconds: float = 15) -> list[Message]:
    """The first `count` records of a topic, in order per partition, without a consumer group.

    Fewer come back when no more have arrived after `seconds`.
    """
    client = _reader(bootstrap)
    try:
        partitions = client.list_topics(topic, timeout=5).topics[topic].partitions
        client.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        found: list[Message] = []
        deadline = time.monotonic() + seconds
        while len(found) < count and time.monotonic() < deadline:
            found += [each for each in client.consume(count - len(found), 0.1) if _is_record(each)]
        return found
    finally:
        client.close()


def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """Where the next record of each partition will be."""
    client = _reader(bootstrap)
    try:
        partitions = client.list_topics(topic, timeout=5).topics[topic].partitions
        ends = {number: client.get_watermark_offsets(TopicPartition(topic, number), 5) for number in partitions}
        return {number: watermarks[1] for number, watermarks in ends.items()}
    finally:
        client.close()


def committed(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    """What the group committed; partitions without a commit are left out."""
    client = _reader(bootstrap, group)
    try:
        partitions = client.list_topics(topic, timeout=5).topics[topic].partitions
        told = client.committed([TopicPartition(topic, number) for number in partitions], timeout=10)
        return {each.partition: each.offset for each in told if each.offset >= 0}
    finally:
        client.close()


def _is_record(message: Message) -> bool:
    # Not written in place: the stubs leave KafkaError undefined, so that mypy would take the answer for granted.
    return message.error() is None


def _reader(bootstrap: str, group: str = "tests-reader") -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
        },
        logger=_silent,
    )
