"""What Kafka knows of consumer groups: which there are, who is in them, how far they have committed.

Everything is asked in bounded batches and with a time limit, and what one group or broker can't tell keeps nobody from
hearing the rest. The embedded Kafka answers only what is asked by name and partition: it can't list or describe groups.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType  # type: ignore[attr-defined]

from bus import conf
from bus.errors import BrokerUnavailableError
from bus.kafka import config
from bus.kafka.consumer import Partition
from bus.kafka.listing import CommitLister

log = logging.getLogger("bus.kafka")

MOST_AT_ONCE: Final = 50
"""Groups that are asked about in one go."""
_MOST_PARTITIONS: Final = 2000
_FIRSTS = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_ENDS = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_AWAY: Final = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)
_NOT_THERE: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC)
Item = TypeVar("Item")


class Broker(NamedTuple):
    """A broker of the cluster."""

    id: int
    host: str
    port: int


class Cluster(NamedTuple):
    """The cluster as a whole; `topics` are names and numbers of partitions."""

    cluster_id: str
    brokers: tuple[Broker, ...]
    topics: Mapping[str, int]


class Member(NamedTuple):
    """A member of a consumer group, in Kafka's words."""

    member_id: str
    client_id: str
    host: str
    partitions: tuple[Partition, ...]


class GroupDescription(NamedTuple):
    """A consumer group's state (stable, empty, …) and members."""

    state: str
    members: tuple[Member, ...]


class GroupNames(NamedTuple):
    """The groups there are and their states. Not `is_complete`: a broker didn't answer, and there may be more."""

    states: Mapping[str, str]
    is_complete: bool


class Groups:
    """Asks about groups and offsets. Used by one thread.

    Every method raises BrokerUnavailableError when nothing at all was told within `timeout` seconds. The client is made
    anew after that: one that has seen a broker restart asks with what it knew before, and is refused each time.
    """

    def __init__(self, settings: conf.BusSettings | None = None) -> None:
        self.settings = settings or conf.current()
        self._client: AdminClient | None = None
        self._readers: dict[str, Consumer] = {}
        self._lister: CommitLister | None = None

    def close(self) -> None:
        """Let go of the connections."""
        self._client = None
        while self._readers:
            self._readers.popitem()[1].close()
        if self._lister is not None:
            self._lister.close()
            self._lister = None

    def cluster(self, timeout: float = 5.0) -> Cluster:
        """Brokers and topics."""
        try:
            metadata = self._open().list_topics(timeout=timeout)
        except KafkaException as error:
            raise self._unavailable(error) from error
        known: Any = metadata.brokers.values()
        brokers = tuple(Broker(each.id, each.host, each.port) for each in known)
        topics = {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}
        return Cluster(str(metadata.cluster_id), tuple(sorted(brokers)), topics)

    def ends(self, partitions: Iterable[Partition], timeout: float = 5.0) -> dict[Partition, int]:
        """Where the next record of each partition will be; those that couldn't be asked are left out."""
        return self._offsets(partitions, _ENDS, timeout)

    def firsts(self, partitions: Iterable[Partition], timeout: float = 5.0) -> dict[Partition, int]:
        """The first offset that each partition still has."""
        return self._offsets(partitions, _FIRSTS, timeout)

    def committed(
        self, wanted: Mapping[str, Sequence[Partition]], timeout: float = 5.0
    ) -> dict[str, dict[Partition, int] | BrokerUnavailableError]:
        """How far groups have committed in these partitions; those without a commit are left out.

        Each group has a client of its own, which is kept, and doesn't join it. A group that couldn't be asked has its
        error.
        """
        found: dict[str, dict[Partition, int] | BrokerUnavailableError] = {}
        for group, partitions in wanted.items():
            if not partitions:
                found[group] = {}
                continue
            try:
                client = self._readers.get(group) or self._readers.setdefault(group, self._reader(group))
                told = client.committed([TopicPartition(*each) for each in partitions], timeout=timeout)
            except KafkaException as error:
                if error.args[0].code() in _AWAY:
                    # The others would only take as long to fail.
                    raise self._unavailable(error) from error
                found[group] = BrokerUnavailableError(self._message(error))
            else:
                found[group] = {(p.topic, p.partition): p.offset for p in told if p.error is None and p.offset >= 0}
        for group in self._readers.keys() - wanted.keys():
            self._readers.pop(group).close()
        return found

    def all_commits(
        self, names: Sequence[str], timeout: float = 5.0
    ) -> dict[str, dict[Partition, int] | BrokerUnavailableError]:
        """How far any groups have committed wherever they did; see `bus.kafka.listing`. Not with the embedded Kafka."""
        found: dict[str, dict[Partition, int] | BrokerUnavailableError] = {}
        for some in _batches(names, MOST_AT_ONCE):
            if self._lister is None:
                self._lister = CommitLister(self.settings)
            found.update(self._lister.of(some, timeout))
        return found

    def _reader(self, group: str) -> Consumer:
        return Consumer({**config.common(self.settings, log), "group.id": group, "enable.auto.commit": False})

    def names(self, timeout: float = 10.0) -> GroupNames:
        """All groups that there are. The embedded Kafka names none."""
        result = self._answer(self._ask(lambda client: client.list_consumer_groups(request_timeout=timeout)))
        if isinstance(result, BrokerUnavailableError):
            self._client = None
            raise result
        states = {each.group_id: _state(each) for each in result.valid or ()}
        told: list[Any] = result.errors or []
        errors = [each for each in told if each.code() != KafkaError._UNSUPPORTED_FEATURE]
        if errors and not states:
            raise self._unavailable(KafkaException(errors[0]))
        return GroupNames(states, not errors)

    def describe(
        self, names: Iterable[str], timeout: float = 5.0
    ) -> dict[str, GroupDescription | BrokerUnavailableError]:
        """State and members of groups. A group that couldn't be asked has its error."""
        found: dict[str, GroupDescription | BrokerUnavailableError] = {}
        for some in _batches(names, MOST_AT_ONCE):
            futures = self._ask(lambda c, some=some: c.describe_consumer_groups(some, request_timeout=timeout))
            for group, future in futures.items():
                answer = self._answer(future)
                found[group] = answer if isinstance(answer, BrokerUnavailableError) else _description(answer)
        return self._unless_all_failed(found)

    def retention_ms(self, topics: Sequence[str], timeout: float = 5.0) -> dict[str, int]:
        """How long topics keep records, -1 for ever; those that can't tell are left out."""
        found: dict[str, int] = {}
        for some in _batches(topics, MOST_AT_ONCE):
            asked = [ConfigResource(ResourceType.TOPIC, name) for name in some]
            futures = self._ask(lambda client, a=asked: client.describe_configs(a, request_timeout=timeout))
            for resource, future in futures.items():
                answer = self._answer(future)
                if isinstance(answer, _AwayError):
                    raise self._unavailable(answer)
                if not isinstance(answer, BrokerUnavailableError) and "retention.ms" in answer:
                    found[resource.name] = int(answer["retention.ms"].value)
        return found

    def _offsets(self, partitions: Iterable[Partition], which: OffsetSpec, timeout: float) -> dict[Partition, int]:
        found: dict[Partition, int] = {}
        problem: BrokerUnavailableError | None = None
        for some in _batches(partitions, _MOST_PARTITIONS):
            asked = {TopicPartition(*each): which for each in some}
            futures = self._ask(lambda client, a=asked: client.list_offsets(a, request_timeout=timeout))
            for place, future in futures.items():
                answer = self._answer(future)
                if not isinstance(answer, BrokerUnavailableError):
                    found[place.topic, place.partition] = answer.offset
                elif not isinstance(answer, _NotThereError):
                    problem = answer
        if problem is not None and not found:
            self._client = None
            raise problem
        return found

    def _open(self) -> AdminClient:
        if self._client is None:
            self._client = AdminClient(config.common(self.settings, log))
        return self._client

    def _ask(self, question: Any) -> Any:
        try:
            return question(self._open())
        except KafkaException as error:
            raise self._unavailable(error) from error

    def _answer(self, future: Any) -> Any:
        """What a future holds, or the error."""
        try:
            return future.result()
        except KafkaException as error:
            code, kind = error.args[0].code(), BrokerUnavailableError
            if code in _AWAY:
                kind = _AwayError
            elif code in _NOT_THERE:
                kind = _NotThereError
            return kind(self._message(error))

    def _unless_all_failed(
        self, found: dict[str, Item | BrokerUnavailableError]
    ) -> dict[str, Item | BrokerUnavailableError]:
        # Groups that one may not ask about are no reason to ask about nothing.
        errors = [each for each in found.values() if isinstance(each, _AwayError)]
        if errors and len(errors) == len(found):
            self._client = None
            raise errors[0]
        return found

    def _unavailable(self, error: BaseException) -> BrokerUnavailableError:
        self._client = None
        return BrokerUnavailableError(self._message(error))

    def _message(self, error: BaseException) -> str:
        if isinstance(error, BrokerUnavailableError):
            return str(error)
        reason = error.args[0].str() if isinstance(error, KafkaException) else error
        return f"Kafka at {self.settings.kafka_brokers} can't tell: {reason}; check KAFKA_BROKERS and that it runs"


class _AwayError(BrokerUnavailableError):
    """No broker answered."""


class _NotThereError(BrokerUnavailableError):
    """The topic or partition doesn't exist."""


def _description(answer: Any) -> GroupDescription:
    members = tuple(
        Member(
            each.member_id or "",
            each.client_id or "",
            (each.host or "").lstrip("/"),
            tuple(sorted((place.topic, place.partition) for place in each.assignment.topic_partitions)),
        )
        for each in answer.members
    )
    return GroupDescription(_state(answer), members)


def _state(told: Any) -> str:
    state = getattr(told, "state", None)
    return "" if state is None else str(state.name).lower().replace("_", " ")


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
