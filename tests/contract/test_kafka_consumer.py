"""What the bus expects of its consumer, on the embedded broker and on a real Kafka."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest
from confluent_kafka import KafkaError

from bus.conf import BusSettings
from bus.embedded.kafka import ApiKey, EmbeddedKafka
from bus.kafka.consumer import Partition, Record, RecordConsumer
from tests.kafka.contact import committed, produce
from tests.kafka.subject import ONLY_EMBEDDED, ONLY_REAL, KafkaUnderTest

Settings = Callable[..., BusSettings]
MakeTopic = Callable[..., str]
GONE = r"^bus\.kafka: (FAIL|ERROR) \["
PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])


class Member:
    """A consumer of a group that remembers what it was told."""

    def __init__(self, group: str, topics: Sequence[str], settings: BusSettings) -> None:
        self.consumer = RecordConsumer(group, "member", settings)
        self.owned: set[Partition] = set()
        self.revoked: list[Partition] = []
        self.lost: list[Partition] = []
        self.records: list[Record] = []
        self.consumer.subscribe(topics, self._assigned, self._revoked, self._lost)

    def poll(self, seconds: float = 0.1) -> None:
        self.records += self.consumer.consume(500, seconds)

    @property
    def values(self) -> list[bytes | None]:
        return [record.value() for record in self.records]

    def _assigned(self, partitions: list[Partition]) -> None:
        self.owned |= set(partitions)

    def _revoked(self, partitions: list[Partition]) -> None:
        self.owned -= set(partitions)
        self.revoked += partitions

    def _lost(self, partitions: list[Partition]) -> None:
        self.owned -= set(partitions)
        self.lost += partitions


Join = Callable[..., Member]


@pytest.fixture
def join(settings: Settings, unique: Callable[[str], str]) -> Iterator[Join]:
    """Makes members: `join(topic)`, or of another's group: `join(topic, group=…)`."""
    mine = unique("group")
    with ExitStack() as cleanup:

        def make(*topics: str, group: str = mine, protocol: str = "consumer", **values: object) -> Member:
            values = {"session_timeout_ms": 3000, **values}
            member = Member(group, topics, settings(group_protocol=protocol, **values))
            cleanup.callback(member.consumer.close)
            return member

        yield make


def poll_until(condition: Callable[[], bool], *members: Member, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        for member in members:
            member.poll()


@PROTOCOLS
def test_a_new_group_reads_from_the_beginning(
    kafka: KafkaUnderTest, make_topic: MakeTopic, join: Join, protocol: str
) -> None:
    topic = make_topic(partitions=2)
    produce(kafka.bootstrap, topic, [b"one", None], b"key", [("event-id", b"7")])
    member = join(topic, protocol=protocol)
    poll_until(lambda: len(member.records) == 2, member)
    assert member.values == [b"one", None]
    assert {record.topic() for record in member.records} == {topic}
    assert [record.offset() for record in member.records] == [0, 1]
    assert member.records[0].headers() == [("event-id", b"7")]
    assert member.records[0].key() == b"key"
    assert member.records[0].timestamp()[1] > 1_600_000_000_000
    assert member.owned == {(topic, 0), (topic, 1)}


@pytest.mark.parametrize("wait", [True, False])
def test_a_successor_begins_at_the_committed_offset(
    kafka: KafkaUnderTest, make_topic: MakeTopic, join: Join, unique: Callable[[str], str], wait: bool
) -> None:
    topic, group = make_topic(partitions=1), unique("group")
    produce(kafka.bootstrap, topic, [b"%d" % number for number in range(10)])
    first = join(topic, group=group)
    poll_until(lambda: len(first.records) == 10, first)
    first.consumer.commit({(topic, 0): 7}, wait=wait)
    poll_until(lambda: committed(kafka.bootstrap, group, topic) == {0: 7}, first)
    first.consumer.close()
    second = join(topic, group=group)
    poll_until(lambda: len(second.records) >= 3, second)
    assert second.values == [b"7", b"8", b"9"]


def test_nothing_is_committed_unless_it_is_asked_for(
    kafka: KafkaUnderTest, make_topic: MakeTopic, join: Join, unique: Callable[[str], str]
) -> None:
    topic, group = make_topic(partitions=1), unique("group")
    produce(kafka.bootstrap, topic, [b"x"])
    member = join(topic, group=group)
    poll_until(lambda: len(member.records) == 1, member)
    member.consumer.close()
    assert committed(kafka.bootstrap, group, topic) == {}


@PROTOCOLS
def test_members_share_the_partitions_and_inherit_them(
    kafka: KafkaUnderTest, make_topic: MakeTopic, join: Join, protocol: str
) -> None:
    topic = make_topic(partitions=4)
    everything = {(topic, number) for number in range(4)}
    first = join(topic, protocol=protocol)
    poll_until(lambda: first.owned == everything, first)
    second = join(topic, protocol=protocol)
    poll_until(lambda: len(first.owned) == len(second.owned) == 2, first, second, seconds=30)
    assert first.owned | second.owned == everything
    # Only what moves is taken away.
    assert set(first.revoked) == second.owned
    assert not first.lost
    second.consumer.close()
    poll_until(lambda: first.owned == everything, first, seconds=30)


def test_a_paused_partition_keeps_its_records_until_it_is_resumed(
    kafka: KafkaUnderTest, make_topic: MakeTopic, join: Join
) -> None:
    topic = make_topic(partitions=2)
    for partition in (0, 1):
        produce(kafka.bootstrap, topic, [b"first"], partition=partition)
    member = join(topic)
    poll_until(lambda: len(member.records) == 2, member)
    member.consumer.pause([(topic, 0)])
    for partition in (0, 1):
        produce(kafka.bootstrap, topic, [b"second"] * 10, partition=partition)
    poll_until(lambda: len(member.records) == 12, member)
    for _ in range(5):
        member.poll()
    assert [record.partition() for record in member.records[2:]] == [1] * 10
    member.consumer.resume([(topic, 0)])
    poll_until(lambda: len(member.records) == 22, member)
    assert [record.offset() for record in member.records if record.partition() == 0] == list(range(11))


def test_pausing_what_is_no_longer_ours_does_no_harm(make_topic: MakeTopic, join: Join) -> None:
    topic = make_topic(partitions=1)
    member = join(topic)
    poll_until(lambda: bool(member.owned), member)
    member.consumer.pause([(topic, 3), ("no-such-topic", 0)])
    member.consumer.resume([(topic, 3), ("no-such-topic", 0)])
    member.poll()


def test_a_member_that_stops_polling_loses_its_partitions(
    kafka: KafkaUnderTest, make_topic: MakeTopic, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    topic = make_topic(partitions=1)
    produce(kafka.bootstrap, topic, [b"x"])
    member = join(topic, protocol="classic", max_poll_interval_ms=3000)
    poll_until(lambda: len(member.records) == 1, member)
    with caplog.at_level(logging.WARNING):
        time.sleep(4)
        poll_until(lambda: member.lost == [(topic, 0)], member)
    assert "MAX_POLL_EXCEEDED" in caplog.text.upper()
    poll_until(lambda: len(member.records) == 2, member, seconds=30)
    assert member.values == [b"x", b"x"]


@pytest.mark.expects_errors(GONE)
def test_a_member_outlives_an_outage(
    stoppable_kafka: KafkaUnderTest, make_topic: MakeTopic, join: Join, unique: Callable[[str], str]
) -> None:
    topic, group = make_topic(partitions=1), unique("group")
    produce(stoppable_kafka.bootstrap, topic, [b"before"])
    member = join(topic, group=group)
    poll_until(lambda: member.values == [b"before"], member)
    stoppable_kafka.stop()
    for _ in range(10):
        member.poll()
    began = time.monotonic()
    member.consumer.commit({(topic, 0): 1}, wait=False)
    assert time.monotonic() - began < 0.5
    stoppable_kafka.start()
    produce(stoppable_kafka.bootstrap, topic, [b"after"])
    poll_until(lambda: b"after" in member.values, member, seconds=40)

    def is_committed() -> bool:
        # A commit that waited out the outage may land after this one, so it is made again, as the bus does.
        member.consumer.commit({(topic, 0): 2}, wait=True)
        return committed(stoppable_kafka.bootstrap, group, topic) == {0: 2}

    poll_until(is_committed, member)


@ONLY_REAL
def test_a_missing_topic_is_reported_once_with_the_remedy(
    kafka: KafkaUnderTest, join: Join, unique: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    member = join(unique("nowhere"), protocol="classic")
    with caplog.at_level(logging.WARNING):
        poll_until(lambda: "create_topics" in caplog.text, member)
        for _ in range(10):
            member.poll()
    assert sum("create_topics" in line for line in caplog.messages) == 1


@pytest.mark.parametrize(
    ("error", "lines"),
    [(KafkaError.ILLEGAL_GENERATION, 0), (KafkaError.UNKNOWN_MEMBER_ID, 0), (KafkaError.GROUP_AUTHORIZATION_FAILED, 1)],
)
@pytest.mark.parametrize("wait", [True, False])
@ONLY_EMBEDDED
def test_a_failed_commit_is_logged_unless_the_partition_is_somebody_elses(
    kafka: KafkaUnderTest,
    make_topic: MakeTopic,
    join: Join,
    caplog: pytest.LogCaptureFixture,
    error: int,
    lines: int,
    wait: bool,
) -> None:
    assert isinstance(kafka.server, EmbeddedKafka)
    topic = make_topic(partitions=1)
    member = join(topic, protocol="classic")
    poll_until(lambda: bool(member.owned), member)
    kafka.server.push_request_errors(ApiKey.OFFSET_COMMIT, [error])
    with caplog.at_level(logging.WARNING):
        member.consumer.commit({(topic, 0): 1}, wait=wait)
        for _ in range(5):
            member.poll()
    assert sum("commit_failed" in line for line in caplog.messages) == lines
