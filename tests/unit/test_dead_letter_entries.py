"""A batch of the index: what is new goes in fast, and what was there is no obstacle to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db.models import QuerySet

from bus.deadletterindex import retention
from bus.deadletterindex.fingerprint import kind_of
from bus.deadletterindex.records import positions_of
from bus.models import DeadLetter, DeadLetterPayload, DeadLetterPosition, ErrorGroup, ErrorGroupPlace
from tests.indexed import CLUSTER, index, letter, record

pytestmark = pytest.mark.django_db


def test_a_place_that_another_dead_letter_has_keeps_no_new_one_out() -> None:
    """As after a topic was made anew between two looks, and has grown past where it was read."""
    index([record(0), record(1)])

    index([replace(record(7), its_offset=0), record(8)])

    assert {each.event_id for each in DeadLetter.objects.all()} == {f"event-{number}" for number in (0, 1, 7, 8)}
    assert DeadLetterPayload.objects.count() == 4
    assert [places(number) for number in (0, 1, 7, 8)] == [[0], [1], [0], [8]]


def test_a_record_that_is_read_twice_in_one_batch_counts_once() -> None:
    index([record(0), replace(record(0), its_offset=9), record(1)])

    assert DeadLetter.objects.count() == 2
    assert letter(0).dlq_offset == 0
    assert [places(number) for number in (0, 1)] == [[0, 9], [1]]
    assert list(DeadLetterPosition.objects.values_list("offset", flat=True)) == [9]
    assert ErrorGroup.objects.get().open == 2


def test_a_record_at_an_earlier_place_that_comes_later_leaves_the_later_one_known() -> None:
    index([replace(record(0), its_offset=9), record(1)])
    index([replace(record(0), its_offset=5)])
    index([replace(record(0), its_offset=12), replace(record(0), its_offset=9)])

    assert letter(0).dlq_offset == 5
    assert [places(number) for number in (0, 1)] == [[5, 9, 12], [1]]
    assert ErrorGroup.objects.get().open == 2


def test_when_places_leave_kafka_a_dead_letter_stays_as_long_as_it_has_one() -> None:
    index([record(0), replace(record(0), its_offset=9), replace(record(0), its_offset=5), record(1), record(20)])
    partition = ("order.created.dlq", 0)

    assert retention.prune(CLUSTER, {partition: 6}) == 1
    assert (letter(0).dlq_offset, places(0)) == (9, [9])
    assert retention.prune("another", {partition: 100}) == 0
    assert retention.prune(CLUSTER, {partition: 10}) == 1
    assert {each.event_id for each in DeadLetter.objects.all()} == {"event-20"}
    assert DeadLetterPosition.objects.count() == 0
    assert ErrorGroup.objects.get().open == 1


def test_a_kept_one_that_is_written_again_is_where_it_was_written() -> None:
    index([record(0)])
    DeadLetter.objects.update(kept=True)
    partition = ("order.created.dlq", 0)
    assert retention.prune(CLUSTER, {partition: 5}) == 0
    assert (letter(0).has_left_kafka, places(0)) == (True, [])

    index([replace(record(0), its_offset=7)])

    assert (letter(0).has_left_kafka, places(0)) == (False, [7])
    DeadLetter.objects.update(kept=False)
    assert retention.prune(CLUSTER, {partition: 8}) == 1
    assert DeadLetterPosition.objects.count() == 0


def test_what_was_moved_meanwhile_does_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has moved a row to its next place after this one looked which have expired."""
    index([record(0), replace(record(0), its_offset=7), record(1)])
    partition, lock = ("order.created.dlq", 0), QuerySet.select_for_update

    def late(letters: QuerySet[DeadLetter], **how: Any) -> QuerySet[DeadLetter]:
        monkeypatch.setattr(QuerySet, "select_for_update", lock)
        assert retention.prune(CLUSTER, {partition: 5}) == 1
        return letters.select_for_update(**how)

    monkeypatch.setattr(QuerySet, "select_for_update", late)
    assert retention.prune(CLUSTER, {partition: 5}) == 0
    assert (letter(0).dlq_offset, places(0)) == (7, [7])


def places(number: int) -> list[int]:
    """The offsets of a dead letter."""
    return [place.offset for place in positions_of(letter(number))]


def test_generations_of_one_batch_stand_for_each_other_and_count_where_they_are() -> None:
    index([record(0), replace(record(0, generation=2), its_offset=2), replace(record(0, generation=1), its_offset=1)])

    found = {each.generation: each for each in DeadLetter.objects.all()}
    assert [found[each].status for each in range(3)] == ["superseded", "superseded", "open"]
    assert [found[each].previous_id for each in range(3)] == [None, found[0].pk, found[1].pk]
    place = ErrorGroupPlace.objects.get()
    assert (place.open, place.superseded) == (1, 2)


def test_whatever_a_foreign_stack_trace_holds_is_stored() -> None:
    trace = '  File "/app/shop/na\x00me\ud800.py", line 3, in work\n'
    index([record(0, stack_trace=trace, error_message="a\x00b \ud800")])

    assert letter(0).error_message.startswith("a\ufffdb")
    assert "\x00" not in ErrorGroup.objects.get().frame


def test_a_trace_that_was_seen_before_and_a_very_long_one_are_read_alike() -> None:
    trace = 'Traceback:\n  File "/app/shop/handlers/billing.py", line 12, in charge\nError: x\n'
    long = trace + "x" * 20_000
    assert kind_of("E", "m", trace) == kind_of("E", "m", trace) == kind_of("E", "m", long)
    assert kind_of("E", "m", trace).frame == "shop/handlers/billing.py:charge"
