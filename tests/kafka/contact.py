"""Plain admin calls that the tests make to any Kafka, real or embedded."""

from __future__ import annotations

import logging
import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

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
