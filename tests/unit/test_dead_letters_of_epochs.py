"""Dead letters of a group that was told to handle events again: what was done with is open once more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from bus.deadletterindex import changes
from bus.deadletterindex.changes import Act
from bus.deadletterindex.counts import recount
from bus.deadletterindex.index import begin_anew
from bus.models import DeadLetter, ErrorGroup, LetterStatus
from tests.indexed import AT_MS, MadeUpRecord, index, letter, record

BEFORE = datetime.fromtimestamp(AT_MS / 1000, UTC) - timedelta(hours=1)

pytestmark = pytest.mark.django_db(transaction=True)


def again(number: int, offset: int, **failure: Any) -> MadeUpRecord:
    """Event `event-<number>` failed in epoch 1."""
    return replace(record(number, epoch=1, **failure), its_offset=offset)


def close(status: LetterStatus) -> None:
    if status is LetterStatus.DISCARDED:
        changes.discard([letter(0).pk], Act("ada", "dead-letters.discard"), BEFORE)
    else:
        DeadLetter.objects.update(status=status)
        recount()


def counted() -> list[tuple[str, int]]:
    return sorted(ErrorGroup.objects.filter(open__gt=0).values_list("fingerprint", "open"))


@pytest.mark.parametrize("status", [LetterStatus.RESOLVED, LetterStatus.DISCARDED])
def test_what_was_done_with_is_open_again(status: LetterStatus) -> None:
    index([record(0)])
    close(status)

    index([again(0, 7, error_type="TimeoutError", error_message="no answer")])

    found = letter(0)
    assert (found.status, found.error_type, found.dlq_offset, found.discarded_at) == (
        LetterStatus.OPEN, "TimeoutError", 7, None,
    )  # fmt: skip
    kept = counted()
    recount()
    assert counted() == kept
    assert [count for _, count in kept] == [1]


def test_the_same_record_read_again_reopens_nothing() -> None:
    index([record(0)])
    close(LetterStatus.RESOLVED)
    index([again(0, 7)])
    close(LetterStatus.RESOLVED)

    index([again(0, 7)])

    assert letter(0).status == LetterStatus.RESOLVED


@pytest.mark.parametrize("status", [LetterStatus.RESOLVED, LetterStatus.DISCARDED])
def test_what_failed_before_it_was_done_with_stays_so_when_the_index_is_made_anew(status: LetterStatus) -> None:
    index([again(0, 7)])
    pk, now = letter(0).pk, datetime.now(UTC)
    if status is LetterStatus.DISCARDED:
        changes.discard([pk], Act("ada", "dead-letters.discard"), now)
    else:
        DeadLetter.objects.update(status=LetterStatus.REPLAYING, replayed_at=now)
        with transaction.atomic():
            changes.resolve([pk], now)
    begin_anew()

    index([again(0, 7)])

    assert letter(0).status == status


def test_a_second_record_of_the_same_epoch_reopens_nothing() -> None:
    """A worker that dies can have written it twice."""
    index([record(0)])
    close(LetterStatus.RESOLVED)

    index([replace(record(0), its_offset=7)])

    assert letter(0).status == LetterStatus.RESOLVED


def test_one_dead_letter_of_an_event_is_enough() -> None:
    index([record(0), replace(record(0, generation=1), its_offset=1)])
    assert DeadLetter.objects.get(generation=0).status == LetterStatus.SUPERSEDED

    index([again(0, 7)])
    assert list(DeadLetter.objects.order_by("generation").values_list("status", flat=True)) == ["superseded", "open"]


def test_one_that_is_replayed_in_the_new_epoch_and_fails_is_superseded() -> None:
    index([record(0), replace(record(0, generation=1), its_offset=1)])
    DeadLetter.objects.update(status=LetterStatus.RESOLVED)
    index([again(0, 7)])
    DeadLetter.objects.filter(generation=0).update(status=LetterStatus.REPLAYING)

    index([again(0, 8, generation=1)])

    assert list(DeadLetter.objects.order_by("generation").values_list("status", flat=True)) == ["superseded", "open"]
