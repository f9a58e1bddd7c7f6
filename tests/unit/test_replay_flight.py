"""Records on their way to Kafka: each key in order, keys beside each other, and an end that always comes."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.deadletters import OutgoingRecord
from bus.errors import PublishRefusedError, PublishUnknownError
from bus.kafka.producer import Delivered
from bus.replay.flight import Flight
from bus.replay.records import Outgoing

ARRIVED = Delivered("billing.replay", 0, 0, 0)
REFUSED = PublishRefusedError("", "too large")
UNKNOWN = PublishUnknownError("", "no answer")


def records(keys: Sequence[str | None], topic: str = "billing.replay") -> list[Outgoing]:
    return [
        Outgoing(number, number, OutgoingRecord(topic, None if key is None else key.encode(), b"{}", []))
        for number, key in enumerate(keys)
    ]


def ready(flight: Flight) -> list[int]:
    found = []
    while (each := flight.next(0.0)) is not None:
        found.append(each.item_id)
    return found


def test_of_each_key_one_goes_at_a_time_and_without_a_key_all_do() -> None:
    mine = records(["a", "a", "b", None, None, "b", ""])
    flight = Flight(mine)
    assert ready(flight) == [0, 2, 3, 4, 6]


def test_the_next_of_a_key_goes_when_the_one_before_has_arrived_or_is_refused_for_good() -> None:
    mine = records(["a", "a", "a"])
    flight = Flight(mine)
    assert ready(flight) == [0]
    flight.land(mine[0], ARRIVED)
    assert ready(flight) == [1]
    flight.land(mine[1], REFUSED)
    assert ready(flight) == [2]
    flight.land(mine[2], ARRIVED)
    assert flight.is_over
    assert ([each.item_id for each, _, _ in flight.results.sent], len(flight.results.refused)) == ([0, 2], 1)


def test_after_one_without_an_answer_no_other_of_its_key_goes() -> None:
    mine = records(["a", "a", "b", "b"])
    flight = Flight(mine)
    assert ready(flight) == [0, 2]
    flight.land(mine[0], UNKNOWN)
    assert not flight.is_over
    flight.land(mine[2], ARRIVED)
    assert ready(flight) == [3]
    flight.land(mine[3], ARRIVED)
    assert flight.is_over
    assert flight.unknown == [UNKNOWN]


def test_the_same_key_on_another_topic_is_another() -> None:
    one, two = records(["a"]), [Outgoing(9, 9, OutgoingRecord("shipping.replay", b"a", b"{}", []))]
    assert ready(Flight([*one, *two])) == [0, 9]


def test_nothing_to_send_is_over_at_once() -> None:
    flight = Flight([])
    assert flight.is_over
    assert flight.next(60) is None


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30), st.randoms(use_true_random=False))
def test_whatever_is_answered_keys_stay_in_order_and_it_ends(keys: list[str | None], rng: random.Random) -> None:
    mine = records(keys)
    flight = Flight(mine)
    on_the_way: list[int] = []
    arrived: list[int] = []
    stuck: set[str | None] = set()
    while not flight.is_over:
        on_the_way += ready(flight)
        number = on_the_way.pop(rng.randrange(len(on_the_way)))
        assert keys[number] not in stuck
        answers: list[Delivered | Exception] = [ARRIVED, ARRIVED, ARRIVED, REFUSED, UNKNOWN]
        answer = rng.choice(answers)
        if answer is UNKNOWN and keys[number] is not None:
            stuck.add(keys[number])
        elif answer is ARRIVED:
            arrived.append(number)
        flight.land(mine[number], answer)
    assert not on_the_way
    for key in "abc":
        of_key = [number for number in arrived if keys[number] == key]
        assert of_key == sorted(of_key)


@pytest.mark.parametrize("answer", [REFUSED, UNKNOWN])
def test_what_has_no_record_holds_up_nobody(answer: Exception) -> None:
    gone = Outgoing(5, 5, None, "the dead letter is gone")
    flight = Flight([gone, *records(["a"])])
    assert ready(flight) == [5, 0]
    flight.land(gone, answer)
    flight.land(records(["a"])[0], ARRIVED)
    assert flight.is_over
