"""The index of dead letters against Kafka: what it reads, and that reading again changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bus import catalog, conf
from bus.deadletterindex import changes, retention
from bus.deadletterindex.changes import Act
from bus.deadletterindex.counts import recount
from bus.deadletterindex.index import Index, PositionTakenError, begin_anew, progress_of
from bus.deadletterindex.records import positions_of, record_of, whole_record_of
from bus.kafka.admin import Admin, ClusterInfo
from bus.kafka.reader import RecordReader
from bus.models import (
    AuditEntry,
    DeadLetter,
    ErrorGroup,
    ErrorGroupPlace,
    IndexPosition,
    LetterStatus,
)
from tests.contract.dead_letter_writer import DeadLetterWriter
from tests.kafka.subject import KafkaUnderTest

pytestmark = pytest.mark.django_db(transaction=True)

MakeTopic = Callable[..., str]
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class OnlyMine:
    """The cluster as a test sees it: the topics of other tests aren't there, and its id can be another one."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self.mine: set[str] = set()
        self.other_id: str | None = None

    def ping(self) -> ClusterInfo:
        info = self._admin.ping()
        return ClusterInfo(self.other_id or info.cluster_id, info.brokers)

    def topics(self) -> dict[str, int]:
        return {name: count for name, count in self._admin.topics().items() if name in self.mine}


@pytest.fixture
def settings_of(kafka: KafkaUnderTest) -> Iterator[conf.BusSettings]:
    with conf.override(kafka_brokers=kafka.bootstrap) as settings:
        yield settings


@pytest.fixture
def cluster(settings_of: conf.BusSettings) -> OnlyMine:
    return OnlyMine(Admin(settings_of))


@pytest.fixture
def make_dead_letter_topic(kafka: KafkaUnderTest, unique: Callable[[str], str], cluster: OnlyMine) -> MakeTopic:
    """Makes a topic with its `.dlq`, of one partition; returns the name of the topic."""

    def make(name: str = "orders", partitions: int = 1) -> str:
        topic = unique(name)
        kafka.create_topic(catalog.dead_letter_topic(topic), partitions, {"max.message.bytes": "2200000"})
        cluster.mine.add(catalog.dead_letter_topic(topic))
        return topic

    return make


@pytest.fixture
def open_index(settings_of: conf.BusSettings, cluster: OnlyMine) -> Iterator[Callable[[], Index]]:
    readers: list[RecordReader] = []

    def open_it() -> Index:
        readers.append(RecordReader(settings_of))
        return Index(readers[-1], cluster, now=lambda: NOW)

    yield open_it
    for reader in readers:
        reader.close()


@pytest.fixture
def writer(kafka: KafkaUnderTest) -> DeadLetterWriter:
    return DeadLetterWriter(kafka.bootstrap)


def rows(*without: str) -> list[dict[str, Any]]:
    left_out = {"id", "indexed_at", "previous_id", *without}
    found = DeadLetter.objects.order_by("event_id", "group", "generation").values()
    return [{name: value for name, value in row.items() if name not in left_out} for row in found]


def counts() -> tuple[list[Any], list[Any]]:
    numbers = ["open", "replaying", "resolved", "discarded", "superseded"]
    groups = ErrorGroup.objects.order_by("pk").values_list("pk", *numbers, "replayed", "came_back")
    places = ErrorGroupPlace.objects.order_by("fingerprint", "topic", "group")
    kept = [row for row in places.values_list("fingerprint", "topic", "group", *numbers) if any(row[3:])]
    return list(groups), kept


def test_a_dead_letter_is_found_with_all_that_its_record_says(
    make_dead_letter_topic: MakeTopic, writer: DeadLetterWriter, open_index: Callable[[], Index]
) -> None:
    topic = make_dead_letter_topic()
    event_id = writer.write(topic, 7, key="customer-1")
    writer.flush()

    open_index().catch_up()

    letter = DeadLetter.objects.get()
    assert (letter.event_id, letter.group, letter.generation) == (event_id, "billing", 0)
    assert (letter.topic, letter.event_type, letter.key) == (topic, topic, "customer-1")
    assert (letter.reason, letter.attempts, letter.error_type) == ("exhausted", 4, "CardRefusedError")
    assert letter.error_message == "card 4711 was refused"
    assert letter.correlation_id == "correlation-7"
    assert letter.first_failed_at == datetime.fromtimestamp(1_790_000_000, UTC)
    assert letter.last_failed_at - letter.first_failed_at == timedelta(seconds=35, milliseconds=7)
    assert [str(place) for place in positions_of(letter)] == [f"{topic}.dlq[0]@0"]
    group = ErrorGroup.objects.get()
    assert (group.pk, group.message, group.open) == (letter.fingerprint, "card <n> was refused", 1)
    assert group.frame == "shop/handlers/billing.py:charge"
    record = record_of(letter.pk)
    assert b'"n":7' in (record.value or b"")
    assert b"error" not in (record.value or b"")
    assert record.stack_trace is not None
    assert "in charge" in record.stack_trace


def test_a_dead_letter_that_was_written_twice_is_one_with_two_positions(
    make_dead_letter_topic: MakeTopic, writer: DeadLetterWriter, open_index: Callable[[], Index]
) -> None:
    topic = make_dead_letter_topic()
    for _ in range(2):
        writer.write(topic, 1)
    writer.flush()
    index = open_index()
    index.catch_up()
    writer.write(topic, 1)
    writer.flush()
    index.catch_up()

    letter = DeadLetter.objects.get()
    assert [place.offset for place in positions_of(letter)] == [0, 1, 2]
    assert letter.dlq_offset == 0
    assert ErrorGroup.objects.get().open == 1


def test_reading_everything_again_gives_the_same_rows_and_keeps_what_people_did(
    make_dead_letter_topic: MakeTopic, writer: DeadLetterWriter, open_index: Callable[[], Index]
) -> None:
    topic = make_dead_letter_topic(partitions=2)
    for number in range(30):
        writer.write(topic, number, partition=number % 2, error_type=f"Error{number % 3}")
    writer.write(topic, 3, partition=1, generation=1)
    writer.flush()
    open_index().catch_up()
    ids = list(DeadLetter.objects.filter(status="open").order_by("pk").values_list("pk", flat=True))
    changes.discard(ids[:5], Act("ann", "dead-letters.discard", "known"), NOW)
    ErrorGroup.objects.filter(error_type="Error1").update(note="look at the gateway")
    before, counted, pks = rows(), counts(), set(DeadLetter.objects.values_list("pk", flat=True))

    begin_anew()
    open_index().catch_up()

    assert rows() == before
    assert counts() == counted
    assert set(DeadLetter.objects.values_list("pk", flat=True)) == pks
    assert ErrorGroup.objects.get(error_type="Error1", note__gt="").note == "look at the gateway"


def test_a_dropped_index_is_rebuilt_from_kafka_alike(
    make_dead_letter_topic: MakeTopic, writer: DeadLetterWriter, open_index: Callable[[], Index]
) -> None:
    topic = make_dead_letter_topic(partitions=2)
    for number in range(20):
        writer.write(topic, number, partition=number % 2)
    writer.write(topic, 4, partition=1, generation=1)
    writer.flush()
    open_index().catch_up()
    before, counted = rows(), counts()
    for model in (DeadLetter, ErrorGroup, ErrorGroupPlace, IndexPosition):
        model.objects.all().delete()

    open_index().catch_up()

    assert rows() == before
    assert counts() == counted
    assert DeadLetter.objects.get(generation=1).previous == DeadLetter.objects.get(event_id=f"{topic}-4", generation=0)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_failed_again_stands_for_its_older_generation_in_whatever_order_they_are_read(
    make_dead_letter_topic: MakeTopic,
    writer: DeadLetterWriter,
    open_index: Callable[[], Index],
    order: tuple[int, int],
) -> None:
    topic = make_dead_letter_topic()
    index = open_index()
    for generation in order:
        writer.write(topic, 1, generation=generation)
        writer.flush()
        index.catch_up()

    older, newer = DeadLetter.objects.order_by("generation")
    assert (older.status, newer.status) == (LetterStatus.SUPERSEDED, LetterStatus.OPEN)
    assert newer.previous == older
    assert (newer.replayed_times, newer.failed_again_times) == (1, 1)
    group = ErrorGroup.objects.get()
    assert (group.open, group.superseded, group.replayed, group.came_back) == (1, 1, 1, 1)
    kept = counts()
    recount()
    assert counts() == kept


def test_another_cluster_is_read_anew_and_rows_that_it_does_not_have_go_unless_they_are_kept(
    make_dead_letter_topic: MakeTopic,
    writer: DeadLetterWriter,
    open_index: Callable[[], Index],
    cluster: OnlyMine,
) -> None:
    first, second = make_dead_letter_topic("first"), make_dead_letter_topic("second")
    for number in range(3):
        writer.write(first, number)
        writer.write(second, number)
    writer.flush()
    index = open_index()
    index.catch_up()
    DeadLetter.objects.filter(topic=first, event_id__endswith="-1").update(kept=True)
    assert progress_of().is_complete

    cluster.other_id = "another"
    cluster.mine.remove(f"{first}.dlq")
    index.look()
    index.catch_up()
    index.look()

    assert {row["event_id"] for row in rows()} == {f"{first}-1", *(f"{second}-{number}" for number in range(3))}
    assert set(IndexPosition.objects.values_list("cluster", flat=True)) == {"another"}
    assert set(DeadLetter.objects.filter(topic=second).values_list("cluster", flat=True)) == {"another"}
    assert DeadLetter.objects.get(topic=first).has_left_kafka
    assert ErrorGroup.objects.get().open == 4


def test_a_partition_that_ends_before_the_position_is_read_from_its_beginning(
    make_dead_letter_topic: MakeTopic, writer: DeadLetterWriter, open_index: Callable[[], Index]
) -> None:
    topic = make_dead_letter_topic()
    writer.write(topic, 1)
    writer.flush()
    open_index().catch_up()
    IndexPosition.objects.update(next_offset=100, end_offset=100)
    DeadLetter.objects.update(event_id="of the partition that was deleted")

    open_index().catch_up()

    assert [row["event_id"] for row in rows()] == [f"{topic}-1"]
    assert IndexPosition.objects.get().next_offset == 1


def test_topics_made_later_are_found_without_a_restart(
    make_dead_letter_topic: MakeTopic, writer: DeadLetterWriter, open_index: Callable[[], Index]
) -> None:
    index = open_index()
    index.catch_up()
    topic = make_dead_letter_topic()
    writer.write(topic, 1)
    writer.flush()

    index.catch_up()

    assert DeadLetter.objects.get().topic == topic


def test_whatever_a_foreign_producer_wrote_becomes_a_row(
    make_dead_letter_topic: MakeTopic, writer: DeadLetterWriter, open_index: Callable[[], Index]
) -> None:
    topic = make_dead_letter_topic()
    odd: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]] = [
        (None, None, []),
        (b"\x00\xff", b"\x00key\xff", [("dlq-group", b"with\x00nul"), ("dlq-generation", b"9223372036854775807")]),
        (b'{"metadata":{"eventId":"' + b"x" * 500 + b'"},"error":{"message":"\\u0000 no"}}', b"k" * 1000, []),
        (b"[1,2]", None, [("dlq-last-attempt-at", b"9999-12-31T23:59:59Z"), ("dlq-error-type", b"\xff" * 900)]),
        (b"{}", None, [("dlq-attempts", b"9223372036854775807"), ("correlation-id", None)]),
    ]
    for value, key, headers in odd:
        writer.write_raw(f"{topic}.dlq", value, key, headers)
    writer.flush()

    open_index().catch_up()

    letters = list(DeadLetter.objects.order_by("dlq_offset"))
    assert len(letters) == len(odd)
    assert len({letter.event_id for letter in letters}) == len(odd)
    assert [bytes(letter.payload.value) if letter.payload.value is not None else None for letter in letters] == [
        value for value, _, _ in odd
    ]
    assert [record_of(letter.pk).key for letter in letters] == [key for _, key, _ in odd]


def test_a_value_that_was_too_large_is_read_at_its_origin(
    make_dead_letter_topic: MakeTopic,
    writer: DeadLetterWriter,
    open_index: Callable[[], Index],
    kafka: KafkaUnderTest,
) -> None:
    topic = make_dead_letter_topic()
    kafka.create_topic(topic, 1)
    writer.write_raw(topic, b"other")
    writer.write_raw(topic, b"the original")
    at_origin = [("dlq-value", b"at-origin"), ("dlq-topic", topic.encode()), ("dlq-partition", b"0")]
    writer.write_raw(f"{topic}.dlq", None, b"key", [*at_origin, ("dlq-offset", b"1")])
    writer.flush()
    open_index().catch_up()

    record = whole_record_of(DeadLetter.objects.get().pk)

    assert (record.value, record.key, record.at_origin) == (b"the original", b"key", frozenset())


def test_two_that_read_at_once_index_each_dead_letter_once(
    make_dead_letter_topic: MakeTopic, writer: DeadLetterWriter, open_index: Callable[[], Index]
) -> None:
    topic = make_dead_letter_topic()
    for number in range(50):
        writer.write(topic, number)
    writer.flush()
    one, two = open_index(), open_index()
    one.look()
    two.look()
    one.catch_up()

    with pytest.raises(PositionTakenError):
        two.step(10)
    two.catch_up()

    assert DeadLetter.objects.count() == 50
    assert ErrorGroup.objects.get().open == 50


def test_rows_leave_with_their_records_unless_they_are_kept_or_replaying(
    make_dead_letter_topic: MakeTopic, writer: DeadLetterWriter, open_index: Callable[[], Index]
) -> None:
    topic = make_dead_letter_topic()
    for number in [0, 1, 2, 3, 0]:
        writer.write(topic, number)
    writer.flush()
    open_index().catch_up()
    DeadLetter.objects.filter(event_id=f"{topic}-1").update(kept=True)
    DeadLetter.objects.filter(event_id=f"{topic}-2").update(status=LetterStatus.REPLAYING)
    recount()
    cluster_id = DeadLetter.objects.values_list("cluster", flat=True).distinct().get()

    retention.prune(cluster_id, {(f"{topic}.dlq", 0): 4})

    assert [row["event_id"] for row in rows()] == [f"{topic}-{number}" for number in (0, 1, 2)]
    assert DeadLetter.objects.get(event_id=f"{topic}-0").dlq_offset == 4
    kept = counts()
    recount()
    assert counts() == kept


def test_discarded_ones_lose_their_payload_after_a_while_and_do_not_come_back(
    make_dead_letter_topic: MakeTopic, writer: DeadLetterWriter, open_index: Callable[[], Index]
) -> None:
    topic = make_dead_letter_topic()
    writer.write(topic, 1)
    writer.flush()
    open_index().catch_up()
    letter = DeadLetter.objects.get()
    changes.discard([letter.pk], Act("ann", "dead-letters.discard", "known"), NOW)

    assert retention.purge(timedelta(days=30), NOW + timedelta(days=29)) == 0
    assert retention.purge(timedelta(days=30), NOW + timedelta(days=31)) == 1

    assert changes.restore([letter.pk], Act("ann", "dead-letters.restore"), NOW) == []
    begin_anew()
    open_index().catch_up()
    assert DeadLetter.objects.get().purged_at is not None
    assert AuditEntry.objects.get().who == "ann"
