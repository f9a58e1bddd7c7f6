"""The index with a cluster that is made up: topics that go away, for a moment or for good."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

import pytest
from django.db import DatabaseError

from bus.deadletterindex import changes
from bus.deadletterindex import index as index_module
from bus.deadletterindex.changes import Act
from bus.deadletterindex.entries import Entries
from bus.deadletterindex.index import GONE_SECONDS, Index, progress_of
from bus.deadletterindex.records import positions_of
from bus.errors import BrokerUnavailableError
from bus.kafka.admin import ClusterInfo
from bus.kafka.consumer import Partition, Record
from bus.models import DeadLetter, ErrorGroup, LetterStatus
from tests.indexed import NOW, MadeUpRecord, letter, record

pytestmark = pytest.mark.django_db


class Kafka:
    """Topics of one partition, by name."""

    def __init__(self, **records: list[MadeUpRecord]) -> None:
        self.records = records
        self.seconds = 0.0
        self.readers: set[int] = set()
        self.failures: list[Exception] = []
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
        """Moves on even when it fails."""
        self.readers.add(threading.get_ident())
        found: list[Record] = []
        for (topic, partition), offset in self._places.items():
            some = self.records.get(topic, [])[offset : offset + count - len(found)]
            self._places[topic, partition] = offset + len(some)
            found += some
        if found and self.failures:
            raise self.failures.pop()
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
    assert (positions_of(kept), positions_of(letter(3))) == ([], [("payment.failed.dlq", 0, 0)])
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
    assert all(positions_of(each) for each in DeadLetter.objects.all())


def test_one_that_is_being_replayed_leaves_when_its_outcome_is_known(kafka: Kafka, its_index: Index) -> None:
    del kafka.records["payment.failed.dlq"]
    DeadLetter.objects.filter(topic="payment.failed").update(status=LetterStatus.REPLAYING)
    look(kafka, its_index, GONE_SECONDS + 6)
    assert "payment.failed" in topics()

    DeadLetter.objects.filter(topic="payment.failed").update(status=LetterStatus.RESOLVED)
    look(kafka, its_index, 6)
    assert "payment.failed" not in topics()


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    """A topic of seven records, to be read two at a time."""
    monkeypatch.setattr(index_module, "BATCH", 2)
    return Kafka(**{"order.created.dlq": [record(number) for number in range(7)]})


def test_the_next_batch_is_read_while_one_is_saved(small_batches: Kafka) -> None:
    its_index = Index(small_batches, small_batches, reads_ahead=True, now=lambda: NOW)
    its_index.catch_up()

    assert [each.event_id for each in DeadLetter.objects.order_by("pk")] == [f"event-{number}" for number in range(7)]
    assert len(small_batches.readers) > 1
    assert progress_of().is_complete


def test_what_was_read_ahead_of_a_batch_that_was_not_saved_is_read_again(
    small_batches: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    its_index = Index(small_batches, small_batches, reads_ahead=True, now=lambda: NOW)
    its_index.step()
    with monkeypatch.context() as broken:
        broken.setattr(Entries, "save", lambda self: (_ for _ in ()).throw(DatabaseError("away")))
        with pytest.raises(DatabaseError):
            its_index.step()
    assert DeadLetter.objects.count() == 2

    its_index.catch_up()

    assert [each.event_id for each in DeadLetter.objects.order_by("pk")] == [f"event-{number}" for number in range(7)]


@pytest.mark.parametrize("before", [0, 1, 2], ids=["reading", "reading ahead", "reading ahead of the second"])
def test_records_of_a_reading_that_failed_are_read_again(small_batches: Kafka, before: int) -> None:
    """A client gives out an error between records, and has moved on."""
    its_index = Index(small_batches, small_batches, reads_ahead=True, now=lambda: NOW)
    its_index.look()
    for _ in range(max(0, before - 1)):
        its_index.step()
    small_batches.failures.append(BrokerUnavailableError("away"))
    with pytest.raises(BrokerUnavailableError):
        for _ in range(3):
            its_index.step()

    its_index.catch_up()

    assert {each.event_id for each in DeadLetter.objects.all()} == {f"event-{number}" for number in range(7)}


def test_what_was_read_ahead_is_dropped_when_reading_starts_elsewhere(small_batches: Kafka) -> None:
    its_index = Index(
        small_batches, small_batches, reads_ahead=True, now=lambda: NOW, clock=lambda: small_batches.seconds
    )
    its_index.step()
    small_batches.records["payment.failed.dlq"] = [replace(record(9, "payment.failed"), its_offset=0)]
    small_batches.pass_time(6)

    its_index.catch_up()

    found = [each.event_id for each in DeadLetter.objects.order_by("pk")]
    assert sorted(found) == [f"event-{number}" for number in (*range(7), 9)]
