"""Publish in batches of 1,000, beside a bare confluent-kafka produce loop with the same bytes, in interleaved rounds.

    python -m tests.benchmark.publish_ratio [--events 20000] [--rounds 5] [--threads 1]

KAFKA_BROKERS and REDIS_URL say where; without them a real Kafka of the tests and the embedded Redis are started. Both
sides wait for every acknowledgement; the bus also validates, encodes and notes each event in Redis. One caller of
`publish_batch` waits for each batch before it makes the next; `--threads` callers overlap, as in a web process.
"""

from __future__ import annotations

import argparse
import statistics
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import Producer

from bus import catalog, conf, envelope
from bus.envelope import Event, Metadata
from bus.producer import EventProducer, Published
from bus.schemas.base import example
from bus.schemas.orders import OrderCreated
from tests.benchmark.venue import services
from tests.kafka.contact import create_topic

BATCH = 1000
PARTITIONS = 4


def events_of(count: int) -> list[dict[str, Any]]:
    """Orders of the example's size, each with a key of its own."""
    order = example(OrderCreated)
    return [
        {"data": {**order, "orderId": f"order-{number}"}, "key": f"order-{number}", "source": "checkout"}
        for number in range(count)
    ]


def bare(brokers: str, topic: str, events: list[dict[str, Any]]) -> float:
    """Events per second of a produce loop around confluent-kafka; the bytes are ready before it starts."""
    at = envelope.timestamp(int(time.time() * 1000))
    records = [
        (
            envelope.encode(Event(Metadata(envelope.new_event_id(), topic, at, source=each["source"]), each["data"])),
            each["key"].encode(),
        )
        for each in events
    ]
    acknowledged = 0

    def delivered(error: Any, message: Any) -> None:
        nonlocal acknowledged
        acknowledged += error is None

    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "gzip",
            "partitioner": "murmur2_random",
        }
    )
    producer.produce(topic, b"warm-up")
    producer.flush(30)
    began = time.perf_counter()
    for value, key in records:
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
    producer.flush(60)
    seconds = time.perf_counter() - began
    assert acknowledged == len(records)
    return acknowledged / seconds


def through_the_bus(producer: EventProducer, topic: str, events: list[dict[str, Any]], threads: int) -> float:
    """Events per second of `publish_batch`."""
    batches = [events[at : at + BATCH] for at in range(0, len(events), BATCH)]
    with ThreadPoolExecutor(threads) as callers:
        began = time.perf_counter()
        outcomes = list(callers.map(lambda batch: producer.publish_batch(topic, batch), batches))
        seconds = time.perf_counter() - began
    assert all(isinstance(each, Published) for batch in outcomes for each in batch)
    return len(events) / seconds


def rounds(brokers: str, options: argparse.Namespace) -> Iterator[float]:
    """The ratio of each round, after one in which the broker warms up."""
    events = events_of(options.events)
    topic = f"benchmark-{uuid.uuid4().hex[:8]}"
    catalog.add_topic(topic, "A benchmark", OrderCreated)
    create_topic(brokers, topic, PARTITIONS, 1, {})
    producer = EventProducer()
    for number in range(options.rounds + 1):
        reached = bare(brokers, topic, events), through_the_bus(producer, topic, events, options.threads)
        if number:
            ratio = reached[1] / reached[0]
            print(f"round {number}: bare {reached[0]:,.0f}/s, bus {reached[1]:,.0f}/s, ratio {ratio:.2f}", flush=True)
            yield ratio
    producer.close(5)


def main() -> None:
    """Print each round, and the median ratio."""
    parser = argparse.ArgumentParser(description="Events/s of publish_batch as a ratio to bare confluent-kafka.")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with services() as (brokers, redis_url), conf.override(kafka_brokers=brokers, redis_url_given=redis_url):
        ratio = statistics.median(rounds(brokers, options))
    print(f"publish_batch to a bare produce loop, {options.threads} caller(s): ratio {ratio:.2f} (median)")


if __name__ == "__main__":
    main()
