"""Topics and the cluster: create, compare, look."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from bus import catalog, conf
from bus.errors import BrokerUnavailableError
from bus.kafka import config

log = logging.getLogger("bus.kafka")

# librdkafka's mock cluster names itself so. It can't create topics on request: they appear when asked about.
_MOCK_CLUSTER = "mockCluster"


class ClusterInfo(NamedTuple):
    """Which cluster answers, and with how many brokers."""

    cluster_id: str
    brokers: int

    @property
    def is_embedded(self) -> bool:
        """Whether it is the embedded broker, which keeps events in memory only."""
        return self.cluster_id.startswith(_MOCK_CLUSTER)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be. `configs` are Kafka's own topic settings."""

    name: str
    partitions: int
    replication: int
    configs: tuple[tuple[str, str], ...]


class TopicReport(NamedTuple):
    """What became of a topic: created, exists (with what `differs` from the settings), or failed."""

    name: str
    outcome: str
    differs: tuple[str, ...] = ()


def specs(settings: conf.BusSettings | None = None) -> list[TopicSpec]:
    """All topics of the catalog and a replay topic per group, each with its dead letter topic.

    The one of a replay topic takes what somebody else wrote there and can't be told where it belongs.
    """
    settings = settings or conf.current()
    event_bytes, dead_letter_bytes = settings.max_event_bytes + 64 * 1024, settings.max_dead_letter_bytes + 64 * 1024
    sources = [(name, settings.topic_retention_hours, event_bytes) for name in catalog.topics()]
    sources += [
        (catalog.replay_topic(group), settings.replay_retention_hours, dead_letter_bytes) for group in catalog.groups()
    ]
    return [
        spec
        for name, hours, most in sources
        for spec in (
            _spec(settings, name, hours, most),
            _spec(settings, catalog.dead_letter_topic(name), settings.dead_letter_retention_hours, dead_letter_bytes),
        )
    ]


def _spec(settings: conf.BusSettings, name: str, retention_hours: int, max_bytes: int) -> TopicSpec:
    configs = (
        ("retention.ms", str(retention_hours * 3600 * 1000)),
        ("min.insync.replicas", str(settings.min_insync_replicas)),
        ("max.message.bytes", str(max_bytes)),
    )
    return TopicSpec(name, settings.topic_partitions, settings.topic_replication, configs)


class Admin:
    """Asks the cluster. Every method raises BrokerUnavailableError when it can't be reached in `timeout` seconds."""

    def __init__(self, settings: conf.BusSettings | None = None) -> None:
        self.settings = settings or conf.current()
        self._client = AdminClient(config.common(self.settings, log))

    def ping(self, timeout: float = 2.0) -> ClusterInfo:
        """Return which cluster answers."""
        # Asking about no topic in particular would fetch the metadata of all of them.
        metadata = self._metadata(timeout)
        return ClusterInfo(metadata.cluster_id or "", len(metadata.brokers))

    def topics(self, timeout: float = 5.0) -> dict[str, int]:
        """The cluster's topics and their numbers of partitions."""
        return {name: len(topic.partitions) for name, topic in self._metadata(timeout).topics.items()}

    def create_topics(self, wanted: Sequence[TopicSpec], timeout: float = 30.0) -> list[TopicReport]:
        """Create what isn't there and compare what is. Topics are never changed or deleted."""
        existing = self.topics(timeout)
        missing = [spec for spec in wanted if spec.name not in existing]
        if self.ping(timeout).is_embedded:
            for spec in missing:
                self._metadata(timeout, spec.name)
            return [TopicReport(s.name, "exists" if s.name in existing else "created") for s in wanted]
        reports = {report.name: report for report in self._create(missing, timeout)}
        present = [spec for spec in wanted if spec.name not in reports]
        reports.update({report.name: report for report in self._compare(present, existing, timeout)})
        return [reports[spec.name] for spec in wanted]

    def end_offsets(self, topics: Iterable[str], timeout: float = 5.0) -> dict[tuple[str, int], tuple[int, int]]:
        """First and end offset of each partition of the topics that exist."""
        existing = self.topics(timeout)
        found: dict[tuple[str, int], tuple[int, int]] = {}
        reader = Consumer({**config.common(self.settings, log), "group.id": "bus-offsets"})
        with contextlib.closing(reader):
            for topic in topics:
                for partition in range(existing.get(topic, 0)):
                    try:
                        found[topic, partition] = reader.get_watermark_offsets(
                            TopicPartition(topic, partition), timeout=timeout
                        )
                    except KafkaException as error:
                        raise self._unavailable(error) from error
        return found

    def _create(self, missing: Sequence[TopicSpec], timeout: float) -> list[TopicReport]:
        if not missing:
            return []
        asked = [
            NewTopic(s.name, num_partitions=s.partitions, replication_factor=s.replication, config=dict(s.configs))
            for s in missing
        ]
        futures = self._client.create_topics(asked, operation_timeout=timeout, request_timeout=timeout)
        wait(futures.values())
        return [TopicReport(name, *self._created(future.exception())) for name, future in futures.items()]

    def _created(self, error: BaseException | None) -> tuple[str, tuple[str, ...]]:
        if error is None:
            return "created", ()
        code = error.args[0].code() if isinstance(error, KafkaException) else None
        if code == KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else was faster
            return "exists", ()
        if code in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            raise self._unavailable(error) from error
        return "failed", (str(error.args[0].str() if code is not None else error),)

    def _compare(self, present: Sequence[TopicSpec], existing: dict[str, int], timeout: float) -> list[TopicReport]:
        if not present:
            return []
        asked = [ConfigResource(ResourceType.TOPIC, spec.name) for spec in present]
        futures = self._client.describe_configs(asked, request_timeout=timeout)
        configs: dict[str, Any] = {}
        for resource, future in futures.items():
            try:
                configs[resource.name] = future.result()
            except KafkaException as error:
                raise self._unavailable(error) from error
        return [TopicReport(s.name, "exists", _differences(s, existing[s.name], configs[s.name])) for s in present]

    def _metadata(self, timeout: float, topic: str | None = None) -> Any:
        try:
            return (
                self._client.list_topics(topic, timeout=timeout) if topic else self._client.list_topics(timeout=timeout)
            )
        except KafkaException as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> BrokerUnavailableError:
        return BrokerUnavailableError(
            f"Kafka at {self.settings.kafka_brokers} can't be reached: {error}; check KAFKA_BROKERS and that it runs"
        )


def _differences(spec: TopicSpec, partitions: int, configs: Any) -> tuple[str, ...]:
    found = []
    if partitions != spec.partitions:
        found.append(f"partitions {partitions}, wanted {spec.partitions}")
    for name, wanted in spec.configs:
        value = configs[name].value if name in configs else None
        if value != wanted:
            found.append(f"{name} {value}, wanted {wanted}")
    return tuple(found)
