"""What scenarios write to Kafka and ask of it, past the product."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from bus import deadletters
from bus.deadletters import DeadLetter
from tests.kafka.contact import ANY_PARTITION, end_offsets, records_of

_silent = logging.getLogger("tests.kafka.silent")

Headers = Sequence[tuple[str, str | bytes | None]]


class Position(NamedTuple):
    """Where a record was stored."""

    partition: int
    offset: int


class Writer:
    """Writes records and remembers where the topics end."""

    def __init__(self, bootstrap: str) -> None:
        self._client = Producer(
            {
                "bootstrap.servers": bootstrap,
                "message.max.bytes": 3_000_000,
                # A record may be larger than its topic allows, as long as it isn't so when compressed.
                "compression.type": "gzip",
                "linger.ms": 1,
            },
            logger=_silent,
        )
        self.ends: dict[str, dict[int, int]] = {}
        """Per topic and partition the offset behind the last record that was written here."""

    def write(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int = ANY_PARTITION,
    ) -> list[Position]:
        """Queue a record; the list gets its position once it is stored. `flush` waits for that."""
        stored: list[Position] = []

        def delivered(error: Any, message: Any) -> None:
            if error:
                raise KafkaException(error)
            position = Position(message.partition(), message.offset())
            stored.append(position)
            ends = self.ends.setdefault(topic, {})
            ends[position.partition] = max(ends.get(position.partition, 0), position.offset + 1)

        self._client.produce(topic, value, key, partition, headers=list(headers), on_delivery=delivered)
        return stored

    def flush(self) -> None:
        """Wait until everything is stored. Raises KafkaException for what was refused."""
        assert self._client.flush(20) == 0, "records were not acknowledged within 20 s"


class Commits:
    """Asks for committed offsets, over one connection per group."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._clients: dict[str, Consumer] = {}

    def of(self, group: str, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """What the group committed; partitions without a commit are left out, all of them while no broker answers."""
        client = self._clients.get(group)
        if client is None:
            client = self._clients[group] = Consumer(
                {"bootstrap.servers": self._bootstrap, "group.id": group, "enable.auto.commit": False}, logger=_silent
            )
        try:
            told = client.committed([TopicPartition(topic, number) for number in partitions], timeout=2)
        except KafkaException:
            return {}
        return {each.partition: each.offset for each in told if each.offset >= 0}

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()


def dead_letters(bootstrap: str, topic: str) -> list[DeadLetter]:
    """All dead letters of a topic as they read, in the order of their origins."""
    name = f"{topic}.dlq"
    records: list[Any] = [*records_of(bootstrap, name, sum(end_offsets(bootstrap, name).values()))]
    letters = [deadletters.read(each.value(), each.key(), each.headers() or [], name) for each in records]
    return sorted(letters, key=lambda each: (each.origin.partition, each.origin.offset) if each.origin else (0, 0))
