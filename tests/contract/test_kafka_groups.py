"""What Kafka tells of consumer groups, on the embedded broker and on a real one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from confluent_kafka import Consumer, TopicPartition

from bus.conf import BusSettings
from bus.errors import BrokerUnavailableError
from bus.kafka.groups import GroupDescription, Groups
from tests.kafka.contact import produce
from tests.kafka.subject import ONLY_EMBEDDED, ONLY_REAL, KafkaUnderTest
from tests.processes import wait_until

Settings = Callable[..., BusSettings]
MakeTopic = Callable[..., str]


def commit(kafka: KafkaUnderTest, group: str, topic: str, offsets: dict[int, int]) -> None:
    """Commit as a foreign program would that reads by explicit partitions."""
    with closing(Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})) as client:
        client.commit(offsets=[TopicPartition(topic, *each) for each in offsets.items()], asynchronous=False)


@contextmanager
def member(kafka: KafkaUnderTest, group: str, topic: str) -> Iterator[Consumer]:
    """A foreign member of a group, with partitions."""
    client = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group, "client.id": "foreigner"})
    client.subscribe([topic])
    try:
        wait_until(lambda: client.poll(0.1) is not None or bool(client.assignment()), 20, "an assignment")
        yield client
    finally:
        client.close()


def test_commits_are_told_without_joining(
    kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic, unique: Callable[[str], str]
) -> None:
    topic, group, nobody = make_topic(partitions=3), unique("group"), unique("nobody")
    commit(kafka, group, topic, {0: 7, 2: 0})
    places = [(topic, number) for number in range(3)]

    found = Groups(settings()).committed({group: places, nobody: places, unique("nothing"): []})

    assert found[group] == {(topic, 0): 7, (topic, 2): 0}
    assert [found[name] for name in found if name != group] == [{}, {}]


@ONLY_REAL
def test_all_commits_are_told_without_naming_partitions_by_a_process_that_may_die(
    kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic, unique: Callable[[str], str]
) -> None:
    topic, group = make_topic(partitions=2), unique("group")
    commit(kafka, group, topic, {1: 3})
    groups, nobody = Groups(settings()), unique("nobody")
    assert groups.all_commits([group, nobody]) == {group: {(topic, 1): 3}, nobody: {}}
    assert groups._lister is not None
    child = groups._lister._child
    assert child is not None
    child.kill()
    with pytest.raises(BrokerUnavailableError, match="trying again"):
        groups.all_commits([group])
    assert groups.all_commits([group]) == {group: {(topic, 1): 3}}
    groups.close()
    assert child.poll() is not None


def test_first_and_end_offsets_leave_out_what_does_not_exist(
    kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=2)
    produce(kafka.bootstrap, topic, [b"x"] * 3, partition=1)
    groups, places = Groups(settings()), [(topic, 0), (topic, 1), (topic, 9), ("no-such-topic", 0)]
    assert groups.ends(places) == {(topic, 0): 0, (topic, 1): 3}
    assert groups.firsts(places) == {(topic, 0): 0, (topic, 1): 0}
    assert groups.ends([]) == {}


def test_the_cluster_names_its_brokers_and_topics(
    kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=3)
    told = Groups(settings()).cluster()
    assert told.topics[topic] == 3
    assert told.cluster_id
    assert [f"{each.host}:{each.port}" for each in told.brokers] == [kafka.bootstrap.replace("localhost", "127.0.0.1")]


@ONLY_REAL
def test_members_and_state_of_any_group_are_told(
    kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic, unique: Callable[[str], str]
) -> None:
    topic, group = make_topic(partitions=2), unique("foreign")
    groups = Groups(settings())
    with member(kafka, group, topic):
        assert groups.names().states[group] == "stable"
        description = groups.describe([group])[group]
        assert isinstance(description, GroupDescription)
        [only] = description.members
        assert (description.state, only.client_id, only.partitions) == ("stable", "foreigner", ((topic, 0), (topic, 1)))
        assert only.host
    commit(kafka, group, topic, {0: 0})
    wait_until(lambda: groups.names().states[group] == "empty", 10, "an empty group")


@ONLY_EMBEDDED
def test_the_embedded_kafka_names_no_groups(kafka: KafkaUnderTest, settings: Settings) -> None:
    assert Groups(settings()).names().states == {}


def test_without_a_broker_every_question_is_answered_in_time_and_again_when_it_is_back(
    stoppable_kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic, unique: Callable[[str], str]
) -> None:
    topic, group, groups = make_topic(), unique("group"), Groups(settings())
    commit(stoppable_kafka, group, topic, {0: 1})
    groups.cluster()
    stoppable_kafka.stop()
    for question in (
        lambda: groups.cluster(1.0),
        lambda: groups.ends([(topic, 0)], 1.0),
        lambda: groups.firsts([(topic, 0)], 1.0),
        lambda: groups.committed({group: [(topic, 0)]}, 1.0),
        lambda: groups.describe([group], 1.0),
        lambda: groups.names(1.0),
    ):
        began = time.monotonic()
        with pytest.raises(BrokerUnavailableError, match="KAFKA_BROKERS"):
            question()
        assert time.monotonic() - began < 3

    stoppable_kafka.start()

    def answers() -> bool:
        try:
            return groups.committed({group: [(topic, 0)]}, 2.0) == {group: {(topic, 0): 1}}
        except BrokerUnavailableError:
            return False

    wait_until(answers, 30, "answers after the broker came back")
