"""What is kept, for how long, and under which key: whatever ids, names and errors hold."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from bus.errors import LedgerUnavailableError
from bus.ledger import Attempt, Ledger, Settlement, Status, Verdict
from bus.ledger.functions import HASH_TAGS
from bus.ledger.records import _history, _pack_history
from tests.contract.ledger.workers import (
    EVENT,
    FAILURE,
    GROUP,
    MINUTE_MS,
    TOPIC,
    MakeWorker,
    Worker,
    claim,
    ledger_at,
    remaining_ms,
    state,
)
from tests.redis_server import RedisAddress

ODD = [
    "a|b",
    "|",
    'quo"te',
    "line\nbreak\r\n",
    "nul\0",
    "Zoë – 商店 🛒",
    "x" * 128,
    "{",
    "}",
    "{}",
    "{07}",
    "}{",
    "{a}{b}",
    "g:billing:event",
    "%d%s",
    "-1",
    " ",
]


# -- odd text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event_id", ODD)
def test_any_event_id_goes_all_the_way(event_id: str, worker: MakeWorker, ledger: Ledger) -> None:
    a, b = worker("a"), worker("b")
    assert a.claim(event_id).verdict is Verdict.GRANTED
    assert b.claim(event_id).verdict is Verdict.BUSY
    a.dies()
    assert b.claim(event_id).suspect
    assert b.settle(Status.PROCESSED, event_id)
    assert a.claim(event_id).verdict is Verdict.DONE
    assert ledger.claim_publish(TOPIC, [event_id], "one") == [None]
    assert state(ledger, event_id) == (Status.PROCESSED, 0, None)


@pytest.mark.parametrize("text", [*ODD, "lone \ud800 surrogate", "x" * 100_000])
def test_any_error_is_kept_with_its_attempt(text: str, worker: MakeWorker, ledger: Ledger) -> None:
    a = worker("a")
    failure = FAILURE._replace(error=text)
    a.claim()
    assert a.settle(Status.RETRYING, history=(failure, FAILURE))
    expected = (failure._replace(error=text.replace("\ud800", "?")), FAILURE)
    assert a.claim().history == expected
    found = ledger.status(EVENT, [GROUP])
    assert found is not None
    assert found.groups[0].attempts == expected


def test_an_error_without_text_is_not_an_error_that_is_empty(worker: MakeWorker) -> None:
    a = worker("a")
    history = (FAILURE._replace(error=None), FAILURE._replace(error=""))
    a.claim()
    a.settle(Status.RETRYING, history=history)
    assert a.claim().history == history


@pytest.mark.parametrize("topic", [*ODD, ""])
def test_a_topic_from_a_forged_header_breaks_no_record(topic: str, worker: MakeWorker, ledger: Ledger) -> None:
    a, b = worker("a"), worker("b")
    ledger.exchange("a", 1, [], [claim()._replace(topic=topic)])
    a.number = a.claimed = 1
    assert b.claim().verdict is Verdict.BUSY
    a.call([a.outcome(Status.PROCESSED)._replace(topic=topic)])
    assert b.claim().verdict is Verdict.DONE
    found = ledger.status(EVENT, [GROUP])
    assert found is not None
    assert found.groups[0].topic == topic.replace("|", "/")


@pytest.mark.parametrize("generation", [-1, 2**31, 10**40])
def test_a_generation_from_a_forged_header_breaks_no_record(
    generation: int, worker: MakeWorker, ledger: Ledger
) -> None:
    a, b = worker("a"), worker("b")
    assert a.claim(generation=generation).verdict is Verdict.GRANTED
    a.dies()
    assert b.claim(generation=generation).suspect
    assert b.settle(None, generation=generation)
    assert state(ledger) == (Status.RETRYING, generation, None)
    assert a.claim(generation=generation).verdict is Verdict.AGAIN
    assert a.settle(Status.PROCESSED, generation=generation)
    assert b.claim(generation=generation).verdict is Verdict.DONE


@pytest.mark.parametrize("name", ["host-1/billing", "Zoë", "{07}", "{", "}", "@", "%a+", "w:w", "x" * 200])
def test_a_worker_may_have_any_name_without_a_bar(name: str, worker: MakeWorker, ledger: Ledger) -> None:
    a, b = worker(name), worker("b")
    a.claim()
    answer = b.claim()
    assert (answer.verdict, answer.owner) == (Verdict.BUSY, name)
    assert a.settle(Status.RETRYING, delay_ms=MINUTE_MS)
    assert 0 < b.claim().wait_ms <= MINUTE_MS
    a.dies()


def test_a_worker_s_name_with_a_bar_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="worker's name"):
        ledger.exchange("a|b", 1, [], [claim()])


@given(
    history=st.lists(
        st.builds(
            Attempt,
            st.integers(0, 2**53),
            st.integers(0, 2**31),
            st.text(max_size=20),
            st.none() | st.text(max_size=40),
        ),
        max_size=5,
    ).map(tuple)
)
def test_a_history_comes_back_as_it_was(history: tuple[Attempt, ...]) -> None:
    assert _history(_pack_history(history)) == history


# -- keys -----------------------------------------------------------------------------------------------------------


@given(event_id=st.text(min_size=1, max_size=128), group=st.text(max_size=40))
def test_all_keys_of_an_event_lie_in_the_slot_of_its_leases(event_id: str, group: str) -> None:
    ledger = ledger_at(RedisAddress("redis://127.0.0.1:1", cluster=True))
    claims = [claim(event_id)._replace(group=group)]
    [part] = ledger._parts([], claims)
    call = ledger._exchange_call("w{1}", 1, part, [], claims)
    keys = [*call.keys, ledger._publish_key(event_id)]
    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert part.tag in HASH_TAGS


def test_a_cluster_s_events_are_spread_over_all_hash_tags() -> None:
    ledger = ledger_at(RedisAddress("redis://127.0.0.1:1", cluster=True))
    parts = ledger._parts([], [claim(f"event-{number}") for number in range(500)])
    assert {part.tag for part in parts} == set(HASH_TAGS)
    assert max(len(part.claimed) for part in parts) < 100


def test_two_prefixes_in_one_redis_know_nothing_of_each_other(any_redis: RedisAddress) -> None:
    one, two = ledger_at(any_redis, redis_prefix="bus"), ledger_at(any_redis, redis_prefix="bus2")
    Worker(one, "a").claim()
    assert Worker(two, "a").claim().verdict is Verdict.GRANTED
    one.end_lease("a")
    assert Worker(two, "b").claim().verdict is Verdict.BUSY
    one.client.close()
    two.client.close()


def test_two_groups_keep_records_of_their_own(worker: MakeWorker, ledger: Ledger) -> None:
    a = worker("a")
    a.claim()
    other = claim()._replace(group="shipping")
    _, [answer] = a.call((), [other])
    assert answer.verdict is Verdict.GRANTED
    a.settle(Status.PROCESSED)
    found = ledger.status(EVENT, ["shipping", "unknown", GROUP])
    assert found is not None
    assert [(each.group, each.status) for each in found.groups] == [
        ("shipping", Status.PROCESSING),
        (GROUP, Status.PROCESSED),
    ]


# -- how long ---------------------------------------------------------------------------------------------------------

HOUR, DAY = 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("outcome", "kept_ms"),
    [(Status.PROCESSED, HOUR), (Status.RETRYING, DAY), (Status.FAILED, DAY), (Status.PROCESSING, DAY)],
)
def test_each_state_is_kept_as_long_as_the_design_says(
    outcome: Status, kept_ms: int, worker: MakeWorker, ledger: Ledger
) -> None:
    a = worker("a")
    a.claim()
    if outcome is not Status.PROCESSING:
        a.settle(outcome)
    [left] = remaining_ms(ledger, "g")
    assert kept_ms - 2000 < left <= kept_ms


def test_what_was_given_back_and_is_suspect_is_kept_for_a_day(worker: MakeWorker, ledger: Ledger) -> None:
    a, b = worker("a"), worker("b")
    a.claim()
    a.dies()
    b.claim()
    b.settle(None)
    [left] = remaining_ms(ledger, "g")
    assert DAY - 2000 < left <= DAY


def test_what_was_given_back_untouched_leaves_nothing(worker: MakeWorker, ledger: Ledger) -> None:
    a = worker("a")
    a.claim()
    a.settle(None)
    assert ledger.status(EVENT, [GROUP]) is None


def test_a_lease_lives_as_long_as_the_settings_say_after_each_sign_of_life(any_redis: RedisAddress) -> None:
    ledger = ledger_at(any_redis, lease_seconds=7.5)
    a = Worker(ledger, "a")
    a.claim()
    [left] = remaining_ms(ledger, "w")
    assert 6_500 < left <= 7_500
    ledger.heartbeat("a", 2)
    assert {6_500 < left <= 7_500 for left in remaining_ms(ledger, "w")} == {True}
    ledger.end_lease("a")
    assert remaining_ms(ledger, "w") == []
    ledger.client.close()


def test_a_lease_that_isn_t_renewed_lapses(any_redis: RedisAddress) -> None:
    ledger = ledger_at(any_redis, lease_seconds=1)
    a, b = Worker(ledger, "a"), Worker(ledger, "b")
    a.claim()
    waited = b.claim()
    assert waited.verdict is Verdict.BUSY
    deadline = waited.wait_ms / 1000 + 0.05
    time.sleep(deadline)
    assert b.claim().suspect
    ledger.client.close()


def test_all_leases_are_renewed_and_end_together_on_a_cluster(worker: MakeWorker, ledger: Ledger) -> None:
    a = worker("a")
    a.call((), [claim(f"event-{number}") for number in range(200)])
    ledger.heartbeat("a", 2)
    assert len(remaining_ms(ledger, "w")) == (len(HASH_TAGS) if ledger._functions.is_cluster else 1)
    ledger.end_lease("a")
    assert remaining_ms(ledger, "w") == []


# -- what status tells ----------------------------------------------------------------------------------------------


def test_nothing_is_known_of_an_unknown_event(ledger: Ledger) -> None:
    assert ledger.status("unknown", [GROUP]) is None
    assert ledger.status("unknown", []) is None


def test_status_tells_attempts_and_when_the_next_is_due(worker: MakeWorker, ledger: Ledger) -> None:
    a = worker("a")
    a.claim()
    a.settle(Status.RETRYING, delay_ms=MINUTE_MS, attempts=1, history=(FAILURE,))
    found = ledger.status(EVENT, [GROUP])
    assert found is not None
    [group] = found.groups
    seconds, micros = _any_time(ledger)
    assert group.next_retry_at_ms is not None
    assert -2000 < group.next_retry_at_ms - (seconds * 1000 + micros // 1000 + MINUTE_MS) <= 0
    assert (group.topic, group.attempts, group.worker) == (TOPIC, (FAILURE,), None)


def _any_time(ledger: Ledger) -> tuple[int, int]:
    told = ledger.client.time()
    if isinstance(told, dict):
        told = next(iter(told.values()))
    return int(told[0]), int(told[1])


def test_something_else_in_the_place_of_a_record_is_said_not_shown(worker: MakeWorker, ledger: Ledger) -> None:
    ledger.client.set(ledger._group_key(GROUP, EVENT), b"\xff something else")
    with pytest.raises(LedgerUnavailableError, match="something else where the ledger keeps group billing"):
        ledger.status(EVENT, [GROUP])
    # It says nothing about the event, so the event is handled rather than lost.
    assert worker("a").claim().verdict is Verdict.GRANTED


def test_every_kind_of_settlement_can_travel_in_one_call(worker: MakeWorker, ledger: Ledger) -> None:
    a = worker("a")
    outcomes: list[Status | None] = [Status.PROCESSED, Status.RETRYING, Status.FAILED, None]
    ids = [f"event-{number}" for number in range(80)]
    a.call((), [claim(each, alone=number % 2 == 0) for number, each in enumerate(ids)])
    a.claimed = a.number
    settlements: list[Settlement] = [
        a.outcome(outcomes[number % 4], each, delay_ms=number * 1000, attempts=number, crashes=1, history=(FAILURE,))
        for number, each in enumerate(ids)
    ]
    assert a.call(settlements)[0] == [True] * 80
    for number, each in enumerate(ids):
        found = ledger.status(each, [GROUP])
        outcome = outcomes[number % 4]
        assert (found.groups[0].status if found else None) is outcome
