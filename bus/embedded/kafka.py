"""An embedded Kafka: librdkafka's mock cluster, in this process or in one of its own.

    python -m bus.embedded.kafka --topics-json topics.json --ready-file kafka.json

Other processes reach it over TCP on 127.0.0.1. It is for librdkafka clients, for trying things out and for tests:

- Events are in memory only. Each partition keeps its last 5 MiB (or 100,000 batches) and nothing can raise that: older
  ones vanish, read or not.
- It picks its ports; they can't be chosen, so a second start has another address.
- Topics appear on first use with 4 partitions unless they were created before. Creating and describing through the
  admin protocol, deleting records and looking up offsets by time aren't there; transactions are cosmetic.
- With the classic protocol every rebalance but a group's first waits for the session time-out less a second. KIP-848
  (`BUS_GROUP_PROTOCOL=consumer`) rebalances within a heartbeat, which is half a second here, or 6 s after a member was
  killed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from confluent_kafka import Producer

from bus.embedded import librdkafka
from bus.embedded.readiness import write_private
from bus.errors import ConfigurationError

DEFAULT_PARTITIONS = 4
"""What a topic gets that the mock cluster makes on first use."""

_NO_CONTROL = (
    "the embedded Kafka runs without its controls, because no librdkafka with a mock cluster was found beside "
    "confluent-kafka; install confluent-kafka from its wheel (Linux or macOS)"
)


class ApiKey(IntEnum):
    """Kinds of requests, for `push_request_errors`."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    CONSUMER_GROUP_HEARTBEAT = 68


class EmbeddedKafka:
    """A mock cluster in this process; a context manager. `bootstrap` is where clients find it.

    Without the library's controls (`has_controls` is False) it still serves; then topics have 4 partitions, first joins
    of the classic protocol wait 3 s, and what injects faults raises ConfigurationError.
    """

    def __init__(self, brokers: int = 1, topics: Mapping[str, int] | Iterable[str] = ()) -> None:
        """`topics` are created at start: names, or names with their number of partitions."""
        if brokers < 1:
            raise ConfigurationError(f"an embedded Kafka has at least 1 broker, not {brokers}")
        self.brokers = brokers
        self.bootstrap = ""
        self._topics = dict(topics) if isinstance(topics, Mapping) else dict.fromkeys(topics, DEFAULT_PARTITIONS)
        self._library: librdkafka.MockLibrary | None = None
        self._client = self._cluster = 0
        self._fallback: Producer | None = None

    @property
    def has_controls(self) -> bool:
        """Whether topics can be shaped and faults injected."""
        return librdkafka.open_library() is not None

    def start(self) -> EmbeddedKafka:
        """Start the cluster. Raises OSError when it can't listen."""
        library = librdkafka.open_library()
        if library:
            self._client, self._cluster = library.new_cluster(self.brokers)
            self._library = library
            library.join_at_once(self._cluster)
            self.bootstrap = library.bootstrap(self._cluster)
        else:
            self._fallback = Producer({"test.mock.num.brokers": self.brokers, "log_level": 3})
            known = self._fallback.list_topics(timeout=10).brokers.values()
            self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in known)
        for name, partitions in self._topics.items():
            self.create_topic(name, partitions)
        return self

    def stop(self) -> None:
        """Stop the cluster; its events are gone. A second call does nothing."""
        library, self._library = self._library, None
        if library:
            library.destroy(self._client, self._cluster)
        self._fallback = None
        self.bootstrap = ""

    def __enter__(self) -> EmbeddedKafka:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def create_topic(self, name: str, partitions: int = DEFAULT_PARTITIONS, replication: int | None = None) -> None:
        """Create a topic. Raises OSError when it exists."""
        if self._fallback:
            if partitions != DEFAULT_PARTITIONS:
                raise ConfigurationError(_NO_CONTROL)
            self._fallback.list_topics(name, timeout=10)
            return
        library = self._controls()
        library.create_topic(self._cluster, name, partitions, replication or min(3, self.brokers))

    def set_broker_down(self, down: bool, broker: int | None = None) -> None:
        """Take one broker (1, 2, …) or all away, or bring them back where they were, with what they stored.

        Nobody takes over the partitions of one that is away.
        """
        library = self._controls()
        for number in [broker] if broker else range(1, self.brokers + 1):
            library.set_down(self._cluster, number, down)

    def set_delay(self, seconds: float) -> None:
        """Let every answer come that much later; 0 ends it."""
        library = self._controls()
        for number in range(1, self.brokers + 1):
            library.set_delay(self._cluster, number, round(seconds * 1000))

    def push_request_errors(self, api_key: ApiKey | int, errors: Iterable[int]) -> None:
        """Answer the next requests of a kind with these error codes (`KafkaError.REQUEST_TIMED_OUT`, …), one each."""
        self._controls().push_request_errors(self._cluster, int(api_key), list(errors))

    def clear_request_errors(self, api_key: ApiKey | int) -> None:
        """Forget the pushed errors that weren't asked for yet."""
        self._controls().clear_request_errors(self._cluster, int(api_key))

    def set_topic_error(self, name: str, error: int = 0) -> None:
        """Answer all that is asked of a topic with an error (`KafkaError.TOPIC_AUTHORIZATION_FAILED`, …); 0 ends it."""
        self._controls().set_topic_error(self._cluster, name, error)

    def _controls(self) -> librdkafka.MockLibrary:
        if self._library:
            return self._library
        raise ConfigurationError(_NO_CONTROL if self._fallback else "the embedded Kafka isn't running")


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m bus.embedded.kafka", description="Embedded Kafka, in memory only.")
    parser.add_argument("--topics-json", type=Path, help="file with {topic: partitions} or a list of topics")
    parser.add_argument("--ready-file", type=Path, help='gets {"bootstrap", "pid"} once clients can connect')
    parser.add_argument("--brokers", type=int, default=1)
    options = parser.parse_args(arguments)

    # Blocked before the cluster starts its threads, which inherit that: else one of them would take the signal.
    stop_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    topics: Any = json.loads(options.topics_json.read_text()) if options.topics_json else ()
    try:
        with EmbeddedKafka(options.brokers, topics) as kafka:
            print(f"embedded Kafka at {kafka.bootstrap}, events in memory only", flush=True)  # noqa: T201
            if options.ready_file:
                write_private(options.ready_file, json.dumps({"bootstrap": kafka.bootstrap, "pid": os.getpid()}))
            signal.sigwait(stop_signals)
    except (ConfigurationError, OSError) as error:
        print(f"embedded Kafka: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
