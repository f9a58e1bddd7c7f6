"""Event ids are reserved, noted and released; promise 1 as far as the ledger keeps it."""

from __future__ import annotations

import pytest

from bus.errors import EventIdConflictError, PublishInFlightError
from bus.ledger import Ledger, PublishRecord
from tests.contract.ledger.workers import EVENT, TOPIC, MakeWorker, remaining_ms

RECORD = PublishRecord(TOPIC, 3, 41, 1_764_000_000_000, "token shop")
OTHER = PublishRecord(TOPIC, 1, 99, 1_764_000_000_500, "token other")


def claimed(ledger: Ledger, token: str = "one", topic: str = TOPIC, event_id: str = EVENT) -> object:
    [answer] = ledger.claim_publish(topic, [event_id], token)
    return type(answer) if isinstance(answer, Exception) else answer


def published(ledger: Ledger, event_id: str = EVENT) -> PublishRecord | None:
    found = ledger.status(event_id, [])
    return found.published if found else None


def test_a_free_id_is_reserved_and_others_are_told_it_is_in_flight(ledger: Ledger) -> None:
    assert claimed(ledger) is None
    assert claimed(ledger, "two") is PublishInFlightError
    assert ledger.status(EVENT, []) is None


def test_a_repeated_reservation_is_granted_again(ledger: Ledger) -> None:
    assert claimed(ledger) is None
    assert claimed(ledger) is None


def test_the_second_copy_of_an_event_in_one_batch_is_not_reserved(ledger: Ledger) -> None:
    for _ in range(2):  # the second time as a client's repetition
        first, other, second = ledger.claim_publish(TOPIC, [EVENT, "other", EVENT], "one")
        assert (first, other) == (None, None)
        assert isinstance(second, PublishInFlightError)
        assert second.event_id == EVENT


def test_a_published_event_is_a_duplicate_with_its_first_place(ledger: Ledger) -> None:
    claimed(ledger)
    ledger.confirm_publish([(EVENT, RECORD, None)])
    assert claimed(ledger, "two") == RECORD
    assert claimed(ledger) == RECORD
    assert published(ledger) == RECORD


def test_an_id_belongs_to_one_topic(ledger: Ledger) -> None:
    claimed(ledger)
    assert claimed(ledger, "two", "payment.completed") is EventIdConflictError
    ledger.confirm_publish([(EVENT, RECORD, None)])
    [conflict] = ledger.claim_publish("payment.completed", [EVENT], "two")
    assert isinstance(conflict, EventIdConflictError)
    assert (conflict.event_id, conflict.topic, conflict.other_topic) == (EVENT, "payment.completed", TOPIC)


def test_a_released_id_is_free(ledger: Ledger) -> None:
    claimed(ledger)
    ledger.release_publish([EVENT], "one")
    assert claimed(ledger, "two") is None


@pytest.mark.parametrize("token", ["two", "e", "ne", "", f"{TOPIC}|one", "one|"])
def test_nobody_releases_what_another_reserved(token: str, ledger: Ledger) -> None:
    claimed(ledger)
    ledger.release_publish([EVENT], token)
    assert claimed(ledger, "two") is PublishInFlightError


def test_an_acknowledged_event_is_not_released(ledger: Ledger) -> None:
    claimed(ledger)
    ledger.confirm_publish([(EVENT, RECORD, None)])
    ledger.release_publish([EVENT], "one")
    assert published(ledger) == RECORD


def test_an_acknowledgement_after_the_release_is_noted(ledger: Ledger) -> None:
    claimed(ledger)
    ledger.release_publish([EVENT], "one")
    ledger.confirm_publish([(EVENT, RECORD, None)])
    assert claimed(ledger, "two") == RECORD


def test_the_first_acknowledgement_stands(ledger: Ledger) -> None:
    claimed(ledger)
    ledger.release_publish([EVENT], "one")
    assert claimed(ledger, "two") is None
    ledger.confirm_publish([(EVENT, RECORD, None)])
    ledger.confirm_publish([(EVENT, OTHER, None)])
    ledger.release_publish([EVENT], "two")
    assert published(ledger) == RECORD


def test_a_batch_is_answered_in_its_order(ledger: Ledger) -> None:
    ids = [f"event-{number}" for number in range(60)]
    places = [RECORD._replace(offset=number) for number in range(60)]
    ledger.claim_publish(TOPIC, ids[::2], "one")
    ledger.confirm_publish([(ids[at], places[at], None) for at in range(0, 60, 4)])
    answers = ledger.claim_publish(TOPIC, ids, "two")
    for at, answer in enumerate(answers):
        if at % 2:
            assert answer is None
        elif at % 4:
            assert isinstance(answer, PublishInFlightError)
        else:
            assert answer == places[at]
    ledger.release_publish(ids, "two")
    assert ledger.claim_publish(TOPIC, ids[1::2], "three") == [None] * 30


def test_nothing_to_do_is_no_call(ledger: Ledger) -> None:
    assert ledger.claim_publish(TOPIC, [], "one") == []
    ledger.confirm_publish([])
    ledger.release_publish([], "one")


def test_publishing_and_handling_keep_separate_records(ledger: Ledger, worker: MakeWorker) -> None:
    worker("a").claim()
    assert claimed(ledger) is None
    ledger.release_publish([EVENT], "one")
    assert published(ledger) is None
    assert ledger.status(EVENT, ["billing"]) is not None


@pytest.mark.parametrize("by", ["", "a|b", "|", 'quo"te', "line\nbreak", "Zoë – 商店 🛒", "x" * 300, "{07}", "%d"])
def test_whoever_published_may_have_any_name(by: str, ledger: Ledger) -> None:
    record = RECORD._replace(by=by)
    ledger.confirm_publish([(EVENT, record, None)])
    assert claimed(ledger, "two") == record
    assert published(ledger) == record


def test_events_are_found_by_their_correlation_id(ledger: Ledger) -> None:
    ledger.confirm_publish([(f"event-{number}", RECORD, f"flow-{number % 2}") for number in range(6)])
    ledger.confirm_publish([("event-6", RECORD, "flow-0"), ("event-7", RECORD, None), ("event-8", RECORD, "")])
    assert ledger.correlated("flow-0") == ["event-0", "event-2", "event-4", "event-6"]
    assert ledger.correlated("flow-1") == ["event-1", "event-3", "event-5"]
    assert ledger.correlated("unknown") == []


def test_a_correlation_id_keeps_its_newest_hundred(ledger: Ledger) -> None:
    ids = [f"event-{number}" for number in range(130)]
    ledger.confirm_publish([(each, RECORD, "flow") for each in ids[:70]])
    ledger.confirm_publish([(each, RECORD, "flow") for each in ids[70:]])
    assert ledger.correlated("flow") == ids[-100:]


def test_a_repeated_note_pushes_no_other_event_out(ledger: Ledger) -> None:
    notes = [(f"event-{number}", RECORD, "flow") for number in range(100)]
    ledger.confirm_publish(notes)
    ledger.confirm_publish(notes[90:])
    assert ledger.correlated("flow") == [event_id for event_id, _, _ in notes]


def test_reservations_outlive_the_broker_s_answer_and_notes_live_an_hour(ledger: Ledger) -> None:
    claimed(ledger)
    [left] = remaining_ms(ledger, "e")
    assert 37_000 < left <= 38_000
    ledger.confirm_publish([(EVENT, RECORD, "flow")])
    for kind in "ec":
        [left] = remaining_ms(ledger, kind)
        assert 3_599_000 < left <= 3_600_000
