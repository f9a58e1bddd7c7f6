"""What a test that runs on the embedded broker and on the real Kafka is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from bus.embedded.kafka import EmbeddedKafka
from tests.kafka.broker import RealKafka
from tests.kafka.contact import create_topic

# For the few tests that one kind can't serve: it can't be told to fail, or lacks what is tested.
ONLY_EMBEDDED = pytest.mark.parametrize("kafka", ["embedded"], indirect=True)
ONLY_REAL = pytest.mark.parametrize("kafka", [pytest.param("real", marks=pytest.mark.kafka)], indirect=True)


@dataclass(slots=True)
class KafkaUnderTest:
    """A Kafka of either kind."""

    kind: Literal["embedded", "real"]
    server: EmbeddedKafka | RealKafka
    nodes: int = 1
    _stopped: bool = field(default=False, init=False)

    @property
    def bootstrap(self) -> str:
        """Broker addresses, comma-separated."""
        return self.server.bootstrap

    @property
    def can_stop(self) -> bool:
        """Whether it is the tests' to stop."""
        return isinstance(self.server, EmbeddedKafka) or self.server.can_stop

    def create_topic(self, name: str, partitions: int = 4, config: dict[str, str] | None = None) -> None:
        """Create a topic and wait until it can be used. The embedded broker has no topic settings and ignores them."""
        if isinstance(self.server, EmbeddedKafka):
            self.server.create_topic(name, partitions)
        else:
            create_topic(self.bootstrap, name, partitions, self.nodes, config or {})

    def stop(self) -> None:
        """Make the brokers vanish without a word; topics, events and offsets stay."""
        self._stopped = True
        if isinstance(self.server, EmbeddedKafka):
            self.server.set_broker_down(True)
        else:
            self.server.stop()

    def start(self) -> None:
        """Bring the brokers back at the same addresses; does nothing unless they were stopped."""
        if not self._stopped:
            return
        if isinstance(self.server, EmbeddedKafka):
            self.server.set_broker_down(False)
        else:
            self.server.start()
        self._stopped = False
