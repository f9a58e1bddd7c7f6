"""Consume a prepared topic once and print events per second: bare (consume and decode JSON), or through a worker.

python -m tests.benchmark.consume bare|bus TOPIC EVENTS GROUP
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "eventconsole.settings")

_PATIENCE_SECONDS = 120.0


def bare(topic: str, events: int, group: str) -> float:
    """What a loop around confluent-kafka reaches that only decodes."""
    import orjson
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BROKERS"],
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "queued.max.messages.kbytes": 64 * 1024,
        }
    )
    consumer.subscribe([topic])
    seen, began, deadline = 0, 0.0, time.monotonic() + _PATIENCE_SECONDS
    while seen < events and time.monotonic() < deadline:
        for message in consumer.consume(1000, 0.1):
            if message.error() is None:
                began = began or time.perf_counter()
                orjson.loads(message.value() or b"")
                seen += 1
    ended = time.perf_counter()
    consumer.close()
    return seen / (ended - began)


def bus(topic: str, events: int, group: str) -> float:
    """What a worker with a handler that does nothing reaches, deduplication and status included."""
    import django

    django.setup()
    from bus import catalog, conf
    from bus.consumer.worker import Worker, quiet_garbage_collector
    from bus.handlers import Handler
    from bus.kafka.producer import RecordProducer
    from bus.ledger import Ledger
    from bus.ledger.mirror import Steering

    catalog.add_topic(topic, "benchmark")
    catalog.add_group(group, "benchmark")
    settings = conf.current()
    times: list[float] = []
    done = threading.Event()
    numbers = itertools.count(1)

    def count(data: Any, metadata: Any) -> None:
        number = next(numbers)  # atomic, unlike += 1
        if number == 1 or number == events:
            times.append(time.perf_counter())
        if number == events:
            done.set()

    # Without a database: the worker needn't ask it what is paused.
    Ledger().mirror.write(Steering())
    sender = RecordProducer(settings)
    worker = Worker({group: {topic: Handler(group, (topic,), count)}}, sender=sender, settings=settings)
    quiet_garbage_collector()
    thread = threading.Thread(target=worker.run)
    thread.start()
    complete = done.wait(_PATIENCE_SECONDS)
    worker.stop()
    thread.join()
    sender.close(1.0)
    if not complete:
        raise SystemExit(f"only {next(numbers) - 1} of {events} events in {_PATIENCE_SECONDS:g} s")
    return events / (times[1] - times[0])


if __name__ == "__main__":
    kind, topic, events, group = sys.argv[1:]
    print(f"{kind} {({'bare': bare, 'bus': bus}[kind])(topic, int(events), group):.0f}")
