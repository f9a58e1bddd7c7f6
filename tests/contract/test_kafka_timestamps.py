"""When the records were written that a group has yet to read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bus.conf import BusSettings
from bus.kafka.timestamps import Timestamps
from tests.kafka.contact import produce
from tests.kafka.subject import KafkaUnderTest
from tests.processes import wait_until

Settings = Callable[..., BusSettings]
MakeTopic = Callable[..., str]


@pytest.fixture
def timestamps(settings: Settings) -> Iterator[Timestamps]:
    made = Timestamps(settings())
    yield made
    made.close()


def now_ms() -> int:
    return int(time.time() * 1000)


def test_records_of_many_partitions_are_read_in_one_go(
    kafka: KafkaUnderTest, timestamps: Timestamps, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=8)
    before = now_ms()
    for partition in range(8):
        produce(kafka.bootstrap, topic, [b"x" * 50_000] * 3, partition=partition)
    after = now_ms()
    places = [(topic, partition, partition % 3) for partition in range(8)]

    found: dict[Any, int | None] = {}

    def all_found() -> bool:
        found.update(timestamps.of(places))
        return len(found) == 8

    wait_until(all_found, 20, "all timestamps")

    assert set(found) == set(places)
    assert all(at is not None and before <= at <= after for at in found.values())


def test_nothing_is_read_again_until_a_commit_moves(
    kafka: KafkaUnderTest, timestamps: Timestamps, make_topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = make_topic(partitions=1)
    produce(kafka.bootstrap, topic, [b"a", b"b"])
    wait_until(lambda: (topic, 0, 0) in timestamps.of([(topic, 0, 0)]), 20, "the first timestamp")
    reads: list[Any] = []
    monkeypatch.setattr(timestamps, "_read", lambda places, timeout: reads.append(places))
    timestamps.of([(topic, 0, 0)])
    assert reads == []
    timestamps.of([(topic, 0, 1)])
    assert reads == [{(topic, 0): 1}]


def test_a_place_without_a_record_is_asked_for_again(
    kafka: KafkaUnderTest, timestamps: Timestamps, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=2)
    produce(kafka.bootstrap, topic, [b"a"], partition=0)
    wait_until(lambda: (topic, 0, 0) in timestamps.of([(topic, 0, 0), (topic, 1, 0)], 0.5), 20, "the record")
    assert (topic, 1, 0) not in timestamps.of([(topic, 1, 0)], 0.2)
    produce(kafka.bootstrap, topic, [b"b"], partition=1)
    wait_until(lambda: (topic, 1, 0) in timestamps.of([(topic, 1, 0)]), 20, "the record that came later")
    timestamps.forget((topic, 1))
    assert (topic, 1, 0) not in timestamps._known
    assert (topic, 0, 0) in timestamps._known
