"""One consumer process with a handler that does nothing, beside a bare confluent-kafka loop that decodes JSON.

    python -m tests.benchmark.consume_ratio [--events 150000] [--rounds 3]

Both read the same prepared topic on the same broker, each in a process of its own, in turn. The bus also claims and
settles each event in Redis (deduplication and status on), keeps keys in order and commits offsets.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import uuid
from typing import Any

from confluent_kafka import Producer

from bus.catalog import dead_letter_topic, replay_topic
from bus.envelope import Event, Metadata, encode, headers_of, new_event_id, timestamp
from bus.schemas.base import example
from bus.schemas.orders import OrderCreated
from tests.benchmark.venue import services
from tests.kafka.contact import create_topic

PARTITIONS = 4
KEYS = 20_000


def prepare(brokers: str, topic: str, events: int) -> None:
    """Fill a topic with orders of the example's size."""
    create_topic(brokers, topic, PARTITIONS, 1, {})
    create_topic(brokers, dead_letter_topic(topic), PARTITIONS, 1, {})
    producer = Producer({"bootstrap.servers": brokers, "compression.type": "gzip", "linger.ms": 20})
    produce: Any = producer.produce  # its stubs know no list of headers as ours
    order, at = example(OrderCreated), timestamp(1_700_000_000_000)
    for number in range(events):
        event = Event(Metadata(new_event_id(), topic, at, source="checkout"), {**order, "orderId": f"order-{number}"})
        while True:
            try:
                produce(topic, encode(event), f"order-{number % KEYS}", headers=headers_of(event, "benchmark"))
                break
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
    producer.flush(60)


def measure(kind: str, topic: str, events: int, brokers: str, redis_url: str) -> float:
    """Events per second of one process, as it says itself."""
    group = f"benchmark-{uuid.uuid4().hex[:8]}"
    create_topic(brokers, replay_topic(group), 1, 1, {})
    environment = {**os.environ, "KAFKA_BROKERS": brokers, "REDIS_URL": redis_url, "BUS_ENV_FILE": ""}
    command = [sys.executable, "-m", "tests.benchmark.consume", kind, topic, str(events), group]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return float(printed.split()[-1])


def main() -> None:
    """Print each round, and the median ratio."""
    parser = argparse.ArgumentParser(description="Events/s of a worker as a ratio to bare confluent-kafka.")
    parser.add_argument("--events", type=int, default=150_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    topic = f"benchmark-{uuid.uuid4().hex[:8]}"
    ratios = []
    with services() as (brokers, redis_url):
        prepare(brokers, topic, options.events)
        for number in range(options.rounds):
            bare, bus = (measure(kind, topic, options.events, brokers, redis_url) for kind in ("bare", "bus"))
            ratios.append(bus / bare)
            print(f"round {number + 1}: bare {bare:,.0f}/s, bus {bus:,.0f}/s, ratio {ratios[-1]:.3f}", flush=True)
    print(f"one worker to a bare consume and decode loop: ratio {statistics.median(ratios):.3f} (median)")


if __name__ == "__main__":
    main()
