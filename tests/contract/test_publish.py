"""Publishing, on the embedded broker and on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

import bus
from bus import catalog, conf, envelope, producer
from bus.envelope import Event, Metadata
from bus.errors import EventIdConflictError, EventTooLargeError, InvalidEventError, PublishUnknownError
from bus.producer import Published, PublishFailure
from tests.kafka.contact import end_offsets, records_of
from tests.kafka.subject import KafkaUnderTest
from tests.processes import wait_until
from tests.redis_server import RedisServer
from tests.worker.process import ROOT

NewTopic = Callable[..., str]
# What librdkafka says of a broker that is gone.
GONE = r"^bus\.kafka: (FAIL|ERROR) \["


@pytest.fixture
def new_topic(
    kafka: KafkaUnderTest, redis_url: str, make_topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[NewTopic]:
    """Creates topics of the catalog, on the services under test."""
    monkeypatch.setattr(catalog, "_topics", catalog.topics())

    def make(name: str = "orders", partitions: int = 1) -> str:
        topic = make_topic(name, partitions)
        catalog.add_topic(topic, "A topic of a test")
        return topic

    with conf.override(kafka_brokers=kafka.bootstrap, redis_url_given=redis_url, redis_prefix="test"):
        yield make
        producer.close(0)


def count_of(kafka: KafkaUnderTest, topic: str) -> int:
    return sum(end_offsets(kafka.bootstrap, topic).values())


def test_a_published_event_is_in_kafka_byte_for_byte(kafka: KafkaUnderTest, new_topic: NewTopic) -> None:
    topic = new_topic()
    data = {"orderId": "42", "name": "Ørsted \u0000 \u2028", "total": 19.99, "huge": 2**70, "none": None, "list": [[]]}
    published = bus.publish(
        topic, data, key="ключ", event_id='a "quoted" \\ id ø', priority="high", source="checkout",
        correlation_id="c-1", user_id="u-1", version="2.0.0", published_by="web",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )  # fmt: skip
    [record] = records_of(kafka.bootstrap, topic, 1)
    value = record.value() or b""
    timestamp = json.loads(value)["metadata"]["timestamp"]
    metadata = Metadata('a "quoted" \\ id ø', topic, timestamp, "2.0.0", "high", "checkout", "c-1", "u-1")
    assert value == envelope.encode(Event(metadata, data))
    assert envelope.decode(value) == Event(metadata, data)
    assert record.headers() == [
        ("event-id", 'a "quoted" \\ id ø'.encode()),
        ("event-type", topic.encode()),
        ("priority", b"high"),
        ("published-by", b"web"),
        ("correlation-id", b"c-1"),
        ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]
    assert record.key() == "ключ".encode()
    assert tuple(published) == ('a "quoted" \\ id ø', topic, record.partition(), record.offset(), False)


def test_an_event_without_options_has_an_id_and_only_the_headers_it_needs(
    kafka: KafkaUnderTest, new_topic: NewTopic
) -> None:
    topic = new_topic()
    before = int(time.time() * 1000)
    published = bus.publish(topic, {})
    [record] = records_of(kafka.bootstrap, topic, 1)
    metadata = envelope.decode(record.value()).metadata
    assert uuid.UUID(published.event_id).version == 4
    assert metadata == Metadata(published.event_id, topic, metadata.timestamp)
    assert envelope.timestamp(before) <= metadata.timestamp <= envelope.timestamp(int(time.time() * 1000))
    assert record.key() is None
    assert [header[0] for header in record.headers() or []] == ["event-id", "event-type", "priority", "published-by"]


def test_the_ledger_knows_an_event_when_its_publishing_is_reported(new_topic: NewTopic) -> None:
    topic = new_topic()
    published = bus.publish(topic, {}, correlation_id="order-7", published_by="web")
    status = bus.event_status(published.event_id)
    assert status is not None
    assert status.published is not None
    assert status.published[:3] == (topic, published.partition, published.offset)
    assert status.published.by == "web"
    assert bus.is_event_published(published.event_id)
    assert not bus.is_event_processed(published.event_id)
    assert not bus.is_event_published("another")


def test_the_same_id_is_published_once_and_reported_as_a_duplicate(kafka: KafkaUnderTest, new_topic: NewTopic) -> None:
    topic = new_topic(partitions=4)
    first = bus.publish(topic, {"n": 1}, event_id="mine")
    second = bus.publish(topic, {"n": 2}, event_id="mine")
    assert second == first._replace(duplicate=True)
    assert asyncio.run(bus.apublish(topic, {"n": 3}, event_id="mine")) == second
    assert count_of(kafka, topic) == 1


def test_an_id_that_was_published_on_another_topic_is_a_conflict(kafka: KafkaUnderTest, new_topic: NewTopic) -> None:
    topic, other = new_topic(), new_topic("payments")
    bus.publish(topic, {}, event_id="mine")
    with pytest.raises(EventIdConflictError) as caught:
        bus.publish(other, {}, event_id="mine")
    assert (caught.value.event_id, caught.value.other_topic) == ("mine", topic)
    assert count_of(kafka, other) == 0


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"a": [1, {"b": float("nan")}]}, "data.a[1].b"),
        ({"a": float("inf")}, "data.a"),
        ({"a": "\ud800"}, "data"),
        ({"a": {"\udfff": 1}}, "data"),
        ({"a": object()}, "data"),
        ({1: "a"}, "data"),
    ],
)
def test_what_json_cannot_hold_is_refused_and_not_sent(
    kafka: KafkaUnderTest, new_topic: NewTopic, data: object, field: str
) -> None:
    topic = new_topic()
    with pytest.raises(InvalidEventError) as caught:
        bus.publish(topic, data)
    assert caught.value.field == field
    assert count_of(kafka, topic) == 0


def test_a_batch_of_a_thousand_keeps_the_order_of_each_key(kafka: KafkaUnderTest, new_topic: NewTopic) -> None:
    topic = new_topic(partitions=4)
    events = [{"data": {"n": n}, "key": f"key-{n % 10}", "correlation_id": f"c-{n % 3}"} for n in range(1000)]
    outcomes = bus.publish_batch(topic, events, source="checkout")
    records = {(each.partition(), each.offset()): each for each in records_of(kafka.bootstrap, topic, 1000)}
    assert len(records) == len({outcome.event_id for outcome in outcomes}) == 1000
    last: dict[str, int] = {}
    for event, outcome in zip(events, outcomes, strict=True):
        assert isinstance(outcome, Published)
        record = records[outcome.partition, outcome.offset]
        found = envelope.decode(record.value())
        assert found.data == event["data"]
        assert found.metadata.event_id == outcome.event_id
        assert (found.metadata.source, found.metadata.correlation_id) == ("checkout", event["correlation_id"])
        key = str(event["key"])
        assert record.key() == key.encode()
        assert last.get(key, -1) < outcome.offset
        last[key] = outcome.offset
    assert all(bus.is_event_published(outcome.event_id) for outcome in outcomes[::250])


def test_each_event_of_a_batch_has_its_own_outcome(kafka: KafkaUnderTest, new_topic: NewTopic) -> None:
    topic, other = new_topic(), new_topic("payments")
    bus.publish(topic, {}, event_id="before")
    bus.publish(other, {}, event_id="elsewhere")
    outcomes = bus.publish_batch(
        topic,
        [
            {"data": {"n": 0}, "event_id": "one"},
            {"data": {"n": float("nan")}},
            {"data": {"n": 2}, "event_id": "before"},
            {"data": {"n": 3}, "event_id": "elsewhere"},
            {"data": "x" * 1_100_000},
            {"data": {"n": 5}, "event_id": "one"},
            {"data": {"n": 6}},
        ],
    )
    one, not_a_number, before, elsewhere, large, copy, last = outcomes
    assert isinstance(one, Published)
    assert not one.duplicate
    assert isinstance(not_a_number, PublishFailure)
    assert str(not_a_number.error).startswith("data.n: ")
    assert before == Published("before", topic, 0, 0, duplicate=True)
    assert isinstance(elsewhere, PublishFailure)
    assert isinstance(elsewhere.error, EventIdConflictError)
    assert isinstance(large, PublishFailure)
    assert isinstance(large.error, EventTooLargeError)
    assert copy == one._replace(duplicate=True)
    assert isinstance(last, Published)
    records = records_of(kafka.bootstrap, topic, 3)
    assert [envelope.decode(each.value()).data for each in records] == [{}, {"n": 0}, {"n": 6}]
    assert count_of(kafka, topic) == 3


@pytest.mark.expects_errors(GONE)
def test_without_an_answer_the_outcome_is_unknown_and_the_event_can_be_sent_again(
    stoppable_kafka: KafkaUnderTest, new_topic: NewTopic
) -> None:
    topic = new_topic()
    with conf.override(publish_timeout=1.5):
        bus.publish(topic, {"n": 0})
        stoppable_kafka.stop()
        began = time.monotonic()
        with pytest.raises(PublishUnknownError) as caught:
            bus.publish(topic, {"n": 1}, event_id="mine")
        assert time.monotonic() - began < 3
        assert caught.value.event_id == "mine"
        assert "send it again with this eventId" in str(caught.value)
        assert not bus.is_event_published("mine")
        stoppable_kafka.start()
        again = _until_published(topic, "mine")
        producer.close(0)
    assert not again.duplicate
    records = records_of(stoppable_kafka.bootstrap, topic, 3, seconds=1)
    assert [envelope.decode(each.value()).data["n"] for each in records][:2] == [0, 1]


def _until_published(topic: str, event_id: str) -> Published:
    deadline = time.monotonic() + 30
    while True:
        try:
            return bus.publish(topic, {"n": 1}, event_id=event_id)
        except PublishUnknownError:
            if time.monotonic() > deadline:
                raise


@pytest.mark.expects_errors(GONE)
def test_an_acknowledgement_that_comes_late_still_counts(stoppable_kafka: KafkaUnderTest, new_topic: NewTopic) -> None:
    topic = new_topic()
    with conf.override(publish_timeout=60):
        bus.publish(topic, {})
        stoppable_kafka.stop()
        with pytest.raises(PublishUnknownError):
            bus.publish(topic, {"n": 1}, event_id="mine", timeout=0.3)
        stoppable_kafka.start()
        wait_until(lambda: bus.is_event_published("mine"), 30, "the late acknowledgement")
        assert bus.publish(topic, {"n": 1}, event_id="mine") == Published("mine", topic, 0, 1, duplicate=True)
        producer.close(0)
    assert count_of(stoppable_kafka, topic) == 2


@pytest.mark.expects_errors(GONE)
async def test_waiting_for_kafka_never_blocks_the_event_loop(
    stoppable_kafka: KafkaUnderTest, new_topic: NewTopic
) -> None:
    topic = new_topic()
    await bus.apublish(topic, {})
    stoppable_kafka.stop()
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    ticking = asyncio.create_task(tick())
    outcomes = await asyncio.gather(
        bus.apublish(topic, {}, event_id="mine", timeout=1),
        bus.apublish_batch(topic, [{"data": {}} for _ in range(10)], timeout=1),
        return_exceptions=True,
    )
    ticking.cancel()
    assert isinstance(outcomes[0], PublishUnknownError)
    assert not isinstance(outcomes[1], BaseException)
    assert all(isinstance(each, PublishFailure) for each in outcomes[1])
    assert longest < 0.5


def test_publishing_goes_on_without_redis(
    kafka: KafkaUnderTest, new_topic: NewTopic, stoppable_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    topic = new_topic()
    caplog.set_level(logging.INFO, "bus.producer")
    with conf.override(redis_url_given=stoppable_redis.url):
        bus.publish(topic, {}, event_id="before")
        stoppable_redis.stop()
        for number in range(5):
            assert not bus.publish(topic, {"n": number}, event_id=f"during-{number}").duplicate
        assert not bus.publish(topic, {}, event_id="before").duplicate
        stoppable_redis.start()
        wait_until(lambda: bus.publish(topic, {}).offset > 0 and "ledger_available" in caplog.text, 10, "Redis")
        assert bus.publish(topic, {}, event_id="before") == Published("before", topic, 0, 0, duplicate=True)
        producer.close(0)
    assert sum("ledger_unavailable" in line for line in caplog.messages) == 1
    assert sum("ledger_available" in line for line in caplog.messages) == 1


_FORK = """
import os, sys
import bus
from bus import catalog
topic = sys.argv[1]
catalog.add_topic(topic, "A topic of a test")
bus.publish(topic, {"process": "parent"})
child = os.fork()
bus.publish(topic, {"process": "child" if child == 0 else "parent again"})
if child:
    _, status = os.waitpid(child, 0)
    assert status == 0, status
"""


def test_parent_and_child_of_a_fork_both_publish_and_end(
    kafka: KafkaUnderTest, new_topic: NewTopic, redis_url: str
) -> None:
    topic = new_topic()
    env = {**os.environ, "KAFKA_BROKERS": kafka.bootstrap, "REDIS_URL": redis_url}
    subprocess.run([sys.executable, "-W", "ignore", "-c", _FORK, topic], env=env, cwd=ROOT, check=True, timeout=30)
    found = {envelope.decode(each.value()).data["process"] for each in records_of(kafka.bootstrap, topic, 3)}
    assert found == {"parent", "child", "parent again"}
