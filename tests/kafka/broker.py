"""The real Apache Kafka of the tests: the first that is there.

1. TEST_KAFKA_BROKERS, a Kafka that runs already. It can't be stopped, so tests that do so take the next.
2. Containers, where an engine runs.
3. Java (17 or later) with the jars that Maven fetches.

Without any of them UnavailableError says what was missing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from tests.kafka.docker import KafkaInDocker, engine_runs
from tests.kafka.jars import MINIMUM_JAVA, MissingJarsError, jars, java
from tests.kafka.nodes import KafkaFromJars


class UnavailableError(Exception):
    """No real Kafka can be had on this machine. The message says what was tried."""


class RealKafka(Protocol):
    """A Kafka that can go away and come back."""

    bootstrap: str
    """Broker addresses, comma-separated; the same after stop and start."""

    @property
    def can_stop(self) -> bool:
        """Whether stop and start work: not with a Kafka that runs already."""

    def start(self) -> None:
        """Start what is stopped and wait until it answers."""

    def stop(self) -> None:
        """Make the brokers vanish without a word; topics, events and offsets stay."""

    def close(self) -> None:
        """Give back what the tests started."""


class KafkaCluster(RealKafka, Protocol):
    """Three nodes, of which one may be lost."""

    def start_node(self, number: int) -> None:
        """Start node 1, 2 or 3 again and wait until the cluster counts it in."""

    def stop_node(self, number: int, graceful: bool = False) -> None:
        """Kill node 1, 2 or 3; graceful: it hands its leaderships over first."""


class RunningKafka:
    """A Kafka that somebody else runs."""

    can_stop = False

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def start(self) -> None:
        """Nothing to do: it runs."""

    def stop(self) -> None:
        """Refused: it isn't ours."""
        raise UnavailableError("the Kafka of TEST_KAFKA_BROKERS isn't the tests' to stop")

    def close(self) -> None:
        """Nothing to give back."""


def real_kafka(folder: Path) -> RealKafka:
    """A Kafka for tests, started if need be. Raises UnavailableError."""
    given = os.environ.get("TEST_KAFKA_BROKERS")
    return RunningKafka(given) if given else own_kafka(folder, 1)


def own_kafka(folder: Path, nodes: int) -> KafkaCluster:
    """A Kafka that tests may stop. Raises UnavailableError."""
    if engine_runs():
        return KafkaInDocker(nodes)
    if java() is None:
        raise UnavailableError(
            f"no real Kafka: TEST_KAFKA_BROKERS isn't set, no container engine answers, no Java ≥ {MINIMUM_JAVA}"
        )
    try:
        jars()
    except MissingJarsError as error:
        raise UnavailableError(
            f"no real Kafka: TEST_KAFKA_BROKERS isn't set, no container engine answers, {error}"
        ) from error
    return KafkaFromJars(folder, nodes)
