"""The index with a cluster that is made up: topics that go away, for a moment or for good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from bus.deadletterindex import changes
from bus.deadletterindex.changes import Act
from bus.deadletterindex.index import GONE_SECONDS, Index, progress_of
from bus.kafka.admin import ClusterInfo
from bus.kafka.consumer import Partition, Record
from bus.models import DeadLetter, DeadLetterPosition, ErrorGroup, LetterStatus
from tests.indexed import NOW, MadeUpRecord, letter, record

pytestmark = pytest.mark.django_db


class Kafka:
    """Topics of one partition, by name."""

    def __init__(self, **records: list[MadeUpRecord]) -> None:
        self.records = records
        self.seconds = 0.0
        self._places: dict[Partition, int] = {}

    def ping(self) -> ClusterInfo:
        return ClusterInfo("made-up", 1)

    def topics(self) -> dict[str, int]:
        return dict.fromkeys(self.records, 1)

    def assign(self, places: Mapping[Partition, int]) -> None:
        self._places = dict(places)

    def offsets(self, partitions: list[Partition]) -> dict[Partition, tuple[int, int]]:
        return {each: (0, len(self.records[each[0]])) for each in partitions}

    def read(self, count: int, timeout: float) -> list[Record]:
        found: list[Record] = []
        for (topic, partition), offset in self._places.items():
            found += self.records.get(topic, [])[offset:]
            self._places[topic, partition] = len(self.records.get(topic, []))
        return found

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def kafka() -> Kafka:
    return Kafka(
        **{
            "order.created.dlq": [record(0), record(1)],
            "payment.failed.dlq": [replace(record(3, "payment.failed"), its_offset=0)],
        }
    )


@pytest.fixture
def its_index(kafka: Kafka) -> Index:
    found = Index(kafka, kafka, now=lambda: NOW, clock=lambda: kafka.seconds)
    found.catch_up()
    return found


def topics() -> list[str]:
    return list(DeadLetter.objects.order_by("pk").values_list("topic", flat=True))


def look(kafka: Kafka, its_index: Index, seconds: float) -> None:
    for _ in range(int(seconds // 6) + 1):
        kafka.pass_time(6)
        its_index.step(0)


def test_dead_letters_of_a_deleted_topic_leave_unless_they_are_kept(kafka: Kafka, its_index: Index) -> None:
    DeadLetter.objects.filter(pk=letter(1).pk).update(kept=True)
    del kafka.records["order.created.dlq"]
    look(kafka, its_index, GONE_SECONDS + 6)

    assert sorted(topics()) == ["order.created", "payment.failed"]
    kept = letter(1)
    assert (kept.kept, kept.has_left_kafka) == (True, True)
    assert list(DeadLetterPosition.objects.values_list("topic", flat=True)) == ["payment.failed.dlq"]
    assert sum(ErrorGroup.objects.values_list("open", flat=True)) == 2
    assert progress_of().is_complete


def test_a_topic_that_is_not_seen_for_a_moment_costs_nothing_that_people_did(kafka: Kafka, its_index: Index) -> None:
    changes.discard([letter(1).pk], Act("ann", "dead-letters.discard", "noise"), NOW)
    away = kafka.records.pop("order.created.dlq")
    look(kafka, its_index, GONE_SECONDS / 2)
    kafka.records["order.created.dlq"] = away
    look(kafka, its_index, 6)
    del kafka.records["order.created.dlq"]
    look(kafka, its_index, GONE_SECONDS / 2)
    kafka.records["order.created.dlq"] = [*away, record(2)]
    look(kafka, its_index, GONE_SECONDS * 2)

    assert {(each.topic, each.event_id) for each in DeadLetter.objects.all()} == {
        ("order.created", "event-0"),
        ("order.created", "event-1"),
        ("order.created", "event-2"),
        ("payment.failed", "event-3"),
    }
    assert letter(1).status == LetterStatus.DISCARDED
    assert DeadLetterPosition.objects.count() == DeadLetter.objects.count()


def test_one_that_is_being_replayed_leaves_when_its_outcome_is_known(kafka: Kafka, its_index: Index) -> None:
    del kafka.records["payment.failed.dlq"]
    DeadLetter.objects.filter(topic="payment.failed").update(status=LetterStatus.REPLAYING)
    look(kafka, its_index, GONE_SECONDS + 6)
    assert "payment.failed" in topics()

    DeadLetter.objects.filter(topic="payment.failed").update(status=LetterStatus.RESOLVED)
    look(kafka, its_index, 6)
    assert "payment.failed" not in topics()
