"""`manage.py create_topics`, on the embedded broker and on a real Kafka."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from bus import catalog, conf
from bus.kafka import admin as kafka_admin
from tests.kafka.contact import admin
from tests.kafka.subject import ONLY_REAL, KafkaUnderTest


@pytest.fixture
def names(
    kafka: KafkaUnderTest, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, str]]:
    """A topic and a group, which are all that the catalog has."""
    topic, group = unique("orders"), unique("billing")
    monkeypatch.setattr(catalog, "_topics", {})
    monkeypatch.setattr(catalog, "_groups", {})
    catalog.add_topic(topic, "A topic of a test")
    catalog.add_group(group, "A group of a test")
    with conf.override(kafka_brokers=kafka.bootstrap, topic_partitions=4):
        yield topic, group


def said(*arguments: str, **options: Any) -> str:
    output = io.StringIO()
    call_command("create_topics", *arguments, stdout=output, no_color=True, **options)
    return output.getvalue()


def existing(kafka: KafkaUnderTest) -> set[str]:
    return set(admin(kafka.bootstrap).list_topics(timeout=10).topics)


def test_it_creates_what_is_missing_once(kafka: KafkaUnderTest, names: tuple[str, str]) -> None:
    topic, group = names
    wanted = [spec.name for spec in kafka_admin.specs()]
    count = str(len(wanted))
    assert {topic, f"{topic}.dlq", f"{group}.replay"} <= set(wanted)
    told = said("--dry-run")
    assert told.splitlines() == [*(f"would create {each}" for each in wanted), f"{count} would create"]
    assert not existing(kafka) & set(wanted)
    told = said()
    assert [line.split() for line in told.splitlines()] == [*(["created", each] for each in wanted), [count, "created"]]
    assert existing(kafka) >= set(wanted)
    assert said() == said("--dry-run") == f"{count} exists\n"
    assert said(verbosity=2).split()[:2] == ["exists", topic]
    assert said(verbosity=0) == ""


@ONLY_REAL
def test_it_says_what_differs_and_changes_nothing(kafka: KafkaUnderTest, names: tuple[str, str]) -> None:
    topic, _ = names
    kafka.create_topic(topic, 2, {"retention.ms": "1000"})
    for arguments in (["--dry-run"], []):
        line = said(*arguments).splitlines()[0]
        assert line.split()[:2] == ["differs", topic]
        assert "partitions 2, wanted 4" in line
        assert "retention.ms 1000, wanted" in line


@ONLY_REAL
def test_a_topic_that_cannot_be_created_is_an_error_that_says_why(
    kafka: KafkaUnderTest, names: tuple[str, str]
) -> None:
    with (
        conf.override(topic_replication=3),
        pytest.raises(CommandError, match=r"topics could not be created.*replication"),
    ):
        said()


def test_without_kafka_the_error_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = kafka_admin.Admin.topics
    monkeypatch.setattr(kafka_admin.Admin, "topics", lambda self, timeout=0.0: slow(self, 0.5))
    with conf.override(kafka_brokers="127.0.0.1:1"), pytest.raises(CommandError, match="KAFKA_BROKERS"):
        said()
