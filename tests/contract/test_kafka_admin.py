"""What the bus asks of a cluster, on the embedded broker and on a real Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from bus import catalog
from bus.conf import BusSettings
from bus.errors import BrokerUnavailableError
from bus.kafka.admin import Admin, TopicSpec, specs
from tests.kafka.contact import produce
from tests.kafka.subject import ONLY_REAL, KafkaUnderTest
from tests.processes import wait_until

Settings = Callable[..., BusSettings]
MakeTopic = Callable[..., str]


def test_a_ping_says_which_cluster_answers(kafka: KafkaUnderTest, settings: Settings) -> None:
    told = Admin(settings()).ping()
    assert told.cluster_id
    assert told.brokers == 1
    assert told.is_embedded == (kafka.kind == "embedded")


def test_without_a_broker_every_question_is_answered_in_time(
    stoppable_kafka: KafkaUnderTest, settings: Settings
) -> None:
    admin = Admin(settings())
    admin.ping()
    stoppable_kafka.stop()
    for question in (admin.ping, admin.topics, lambda timeout: admin.end_offsets(["any"], timeout)):
        began = time.monotonic()
        with pytest.raises(BrokerUnavailableError, match="KAFKA_BROKERS"):
            question(timeout=1.0)
        assert time.monotonic() - began < 2.5


def test_topics_are_created_once_and_compared_after_that(
    kafka: KafkaUnderTest, settings: Settings, unique: Callable[[str], str]
) -> None:
    admin = Admin(settings())
    wanted = [TopicSpec(unique("made"), 4, 1, (("retention.ms", "3600000"),)) for _ in range(3)]
    assert [tuple(each) for each in admin.create_topics(wanted)] == [(each.name, "created", ()) for each in wanted]
    assert [tuple(each) for each in admin.create_topics(wanted)] == [(each.name, "exists", ()) for each in wanted]
    # A real cluster tells its brokers of new topics a moment later.
    wait_until(lambda: {each.name for each in wanted} <= set(admin.topics()), 10, "the topics")
    assert [admin.topics()[each.name] for each in wanted] == [4, 4, 4]


@ONLY_REAL
def test_what_differs_from_the_settings_is_named(
    kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=2, config={"retention.ms": "1000000"})
    [report] = Admin(settings()).create_topics([TopicSpec(topic, 4, 1, (("retention.ms", "3600000"),))])
    assert report.outcome == "exists"
    assert report.differs == ("partitions 2, wanted 4", "retention.ms 1000000, wanted 3600000")


@ONLY_REAL
def test_a_topic_that_cannot_be_created_does_not_stop_the_others(
    kafka: KafkaUnderTest, settings: Settings, unique: Callable[[str], str]
) -> None:
    good, bad = TopicSpec(unique("good"), 1, 1, ()), TopicSpec(unique("bad"), 1, 3, ())
    reports = {report.name: report for report in Admin(settings()).create_topics([bad, good])}
    assert reports[good.name].outcome == "created"
    assert reports[bad.name].outcome == "failed"
    assert "replication" in reports[bad.name].differs[0].lower()


def test_end_offsets_cover_every_partition_of_the_topics_that_exist(
    kafka: KafkaUnderTest, settings: Settings, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=3)
    produce(kafka.bootstrap, topic, [b"x"] * 5, partition=1)
    found = Admin(settings()).end_offsets([topic, "no-such-topic"])
    assert found == {(topic, 0): (0, 0), (topic, 1): (0, 5), (topic, 2): (0, 0)}


def test_every_group_has_a_replay_topic_and_every_topic_a_dead_letter_topic(settings: Settings) -> None:
    sources = {*catalog.topics(), *map(catalog.replay_topic, catalog.groups())}
    assert {spec.name for spec in specs(settings())} == sources | set(map(catalog.dead_letter_topic, sources))


def test_dead_letter_and_replay_topics_take_a_mebibyte_more(settings: Settings) -> None:
    sizes = {spec.name: int(dict(spec.configs)["max.message.bytes"]) for spec in specs(settings())}
    [topic, *_], [group, *_] = catalog.topics(), catalog.groups()
    assert sizes[catalog.dead_letter_topic(topic)] - sizes[topic] == 1024 * 1024
    assert sizes[catalog.replay_topic(group)] == sizes[catalog.dead_letter_topic(topic)]
