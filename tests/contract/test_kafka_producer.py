"""What the bus expects of its producer, on the embedded broker and on a real Kafka."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bus.conf import BusSettings
from bus.errors import PublishRefusedError, PublishUnknownError
from bus.kafka.producer import Delivered, RecordProducer
from tests.kafka.contact import end_offsets, produce, records_of
from tests.kafka.subject import ONLY_REAL, KafkaUnderTest
from tests.processes import wait_until

Settings = Callable[..., BusSettings]
MakeTopic = Callable[..., str]
GONE = r"^bus\.kafka: (FAIL|ERROR) \["


class Outcomes:
    """Collects outcomes in the order in which they are reported."""

    def __init__(self) -> None:
        self.all: list[Delivered | Exception] = []
        self.threads: set[int] = set()

    def __call__(self, outcome: Delivered | Exception) -> None:
        self.threads.add(threading.get_ident())
        self.all.append(outcome)

    def wait(self, count: int, seconds: float = 15) -> list[Delivered | Exception]:
        wait_until(lambda: len(self.all) >= count, seconds, f"{count} outcomes")
        return self.all


@contextmanager
def open_producer(settings: BusSettings, after_poll: Callable[[], None] | None = None) -> Iterator[RecordProducer]:
    producer = RecordProducer(settings, after_poll)
    try:
        yield producer
    finally:
        producer.close(0)


def send(producer: RecordProducer, topic: str, value: bytes | None, key: bytes | None, outcomes: Outcomes) -> None:
    producer.send(topic, value, key, [("event-id", b"7"), ("empty", None)], "7", outcomes, queue_timeout=1)


@pytest.mark.parametrize("value", [b"anything", b"", None])
def test_an_outcome_says_where_the_record_is(
    kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic, value: bytes | None
) -> None:
    topic = make_topic(partitions=3)
    outcomes = Outcomes()
    before = int(time.time() * 1000) - 1000
    with open_producer(settings()) as producer:
        send(producer, topic, value, b"key", outcomes)
        [delivered] = outcomes.wait(1)
    [record] = records_of(kafka.bootstrap, topic, 1)
    assert isinstance(delivered, Delivered)
    assert delivered[:3] == (topic, record.partition(), record.offset())
    assert before < delivered.at_ms == record.timestamp()[1]
    assert (record.key(), record.value()) == (b"key", value)
    assert record.headers() == [("event-id", b"7"), ("empty", None)]


def test_outcomes_are_reported_on_the_poll_thread_and_followed_by_the_hook(
    settings: Settings, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    outcomes = Outcomes()
    seen: list[tuple[int, int]] = []
    with open_producer(settings(), lambda: seen.append((threading.get_ident(), len(outcomes.all)))) as producer:
        send(producer, topic, b"1", None, outcomes)
        outcomes.wait(1)
        wait_until(lambda: seen[-1][1] == 1, 5, "the hook after the outcome")
    assert outcomes.threads == {seen[-1][0]}
    assert threading.get_ident() not in outcomes.threads


def test_events_of_one_key_stay_in_order_on_one_partition(
    kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=4)
    outcomes = Outcomes()
    with open_producer(settings()) as producer:
        for number in range(2000):
            send(producer, topic, b"%d" % number, b"key-%d" % (number % 7), outcomes)
        outcomes.wait(2000)
    by_key: dict[bytes, list[tuple[int | None, int]]] = {}
    for record in records_of(kafka.bootstrap, topic, 2000):
        by_key.setdefault(record.key() or b"", []).append((record.partition(), int(record.value() or b"-1")))
    for key, found in by_key.items():
        assert len({partition for partition, _ in found}) == 1
        assert [number for _, number in found] == list(range(int(key[4:]), 2000, 7))


# What `Utils.murmur2` of the Java client makes of these keys, out of its own tests.
@pytest.mark.parametrize(
    ("key", "murmur2"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)],
)
def test_a_key_meets_the_partition_that_java_clients_choose(
    settings: Settings, make_topic: MakeTopic, key: bytes, murmur2: int
) -> None:
    outcomes = Outcomes()
    with open_producer(settings()) as producer:
        send(producer, make_topic(partitions=7), b"", key, outcomes)
        [delivered] = outcomes.wait(1)
    assert isinstance(delivered, Delivered)
    assert delivered.partition == (murmur2 & 0x7FFFFFFF) % 7


def test_the_largest_event_goes_through_though_it_does_not_compress(
    kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic
) -> None:
    mine = settings()
    topic = make_topic(partitions=1, config={"max.message.bytes": str(mine.max_dead_letter_bytes + 65536)})
    outcomes = Outcomes()
    with open_producer(mine) as producer:
        send(producer, topic, os.urandom(mine.max_dead_letter_bytes), b"key", outcomes)
        [delivered] = outcomes.wait(1)
    assert isinstance(delivered, Delivered)
    [record] = records_of(kafka.bootstrap, topic, 1)
    assert len(record.value() or b"") == mine.max_dead_letter_bytes


def test_a_record_that_is_too_large_is_refused_at_once(settings: Settings, make_topic: MakeTopic) -> None:
    mine = settings()
    with open_producer(mine) as producer:
        with pytest.raises(PublishRefusedError, match="too large"):
            send(producer, make_topic(), b"x" * (mine.max_dead_letter_bytes + 1_000_000), None, Outcomes())
        assert producer.outstanding() == 0


@ONLY_REAL
def test_a_topic_that_takes_less_refuses_the_record(
    kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic
) -> None:
    outcomes = Outcomes()
    with open_producer(settings()) as producer:
        send(producer, make_topic(config={"max.message.bytes": "1000"}), os.urandom(5000), None, outcomes)
        [refused] = outcomes.wait(1)
    assert isinstance(refused, PublishRefusedError)


@ONLY_REAL
def test_a_missing_topic_is_refused_with_the_remedy(
    kafka: KafkaUnderTest, settings: Settings, unique: Callable[[str], str]
) -> None:
    outcomes = Outcomes()
    with open_producer(settings(publish_timeout=3)) as producer:
        send(producer, unique("nowhere"), b"", None, outcomes)
        [refused] = outcomes.wait(1)
    assert isinstance(refused, PublishRefusedError)
    assert "create_topics" in str(refused)


@pytest.mark.expects_errors(GONE)
def test_without_a_broker_the_outcome_is_unknown_after_the_time_out(
    stoppable_kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=1)
    outcomes = Outcomes()
    with open_producer(settings(publish_timeout=1)) as producer:
        send(producer, topic, b"before", None, outcomes)
        outcomes.wait(1)
        stoppable_kafka.stop()
        began = time.monotonic()
        send(producer, topic, b"during", None, outcomes)
        outcomes.wait(2)
        assert 0.5 < time.monotonic() - began < 4
        assert isinstance(outcomes.all[1], PublishUnknownError)
        assert outcomes.all[1].event_id == "7"
        stoppable_kafka.start()
        wait_until(lambda: _arrives(producer, topic), 20, "the producer to find the broker again")
    values = [each.value() for each in records_of(stoppable_kafka.bootstrap, topic, 100, seconds=2)]
    assert values[0] == b"before"
    assert b"after" in values


@pytest.mark.expects_errors(GONE)
def test_a_short_outage_within_the_time_out_is_not_noticed(
    stoppable_kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=1)
    outcomes = Outcomes()
    with open_producer(settings(publish_timeout=30)) as producer:
        send(producer, topic, b"0", None, outcomes)
        outcomes.wait(1)
        stoppable_kafka.stop()
        for number in range(1, 50):
            send(producer, topic, b"%d" % number, None, outcomes)
        stoppable_kafka.start()
        assert all(isinstance(each, Delivered) for each in outcomes.wait(50, 40))
    values = [int(each.value() or b"-1") for each in records_of(stoppable_kafka.bootstrap, topic, 51, seconds=2)]
    assert values == list(range(50))


def test_closing_waits_for_what_is_queued(kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=1)
    outcomes = Outcomes()
    producer = RecordProducer(settings(linger_ms=300))
    for _ in range(100):
        send(producer, topic, b"x", None, outcomes)
    assert producer.close(10) == 0
    assert len(outcomes.all) == 100
    assert end_offsets(kafka.bootstrap, topic) == {0: 100}


@pytest.mark.expects_errors(GONE)
def test_closing_without_a_broker_says_how_many_outcomes_stay_unknown(
    stoppable_kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=1)
    produce(stoppable_kafka.bootstrap, topic, [b"before"])
    stoppable_kafka.stop()
    producer = RecordProducer(settings(publish_timeout=30))
    for _ in range(3):
        send(producer, topic, b"x", None, Outcomes())
    assert producer.close(0.2) == 3


def _arrives(producer: RecordProducer, topic: str) -> bool:
    outcomes = Outcomes()
    send(producer, topic, b"after", None, outcomes)
    return isinstance(outcomes.wait(1)[0], Delivered)
