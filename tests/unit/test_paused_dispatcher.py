"""Pauses in the dispatcher: what runs finishes, nothing else begins, and everything goes on in order afterwards."""

from __future__ import annotations

import pytest

from bus.ledger import Status
from bus.ledger.mirror import Pause
from tests.unit.dispatch_stage import (
    GROUP,
    P0,
    TOPIC,
    WORKER,
    Message,
    Stage,
    come_back,
    events_given_in,
    fail,
    hang,
    stage,
    value_of,
)

ALL = Pause(whole=True)
ONE_TOPIC = Pause(topics=frozenset({TOPIC}))
EITHER = pytest.mark.parametrize("pause", [ALL, ONE_TOPIC], ids=["group", "topic"])
REPLAYS = (f"{GROUP}.replay", 0)


def pause(its: Stage, what: Pause = ALL) -> None:
    its.dispatcher.pause(what)
    its.round(2)


def resume(its: Stage) -> None:
    pause(its, Pause())


def replayed(at: int, event_id: str, topic: str, key: bytes | None = None) -> Message:
    headers: list[tuple[str, bytes | None]] = [
        ("event-id", event_id.encode()),
        ("dlq-topic", topic.encode()),
        ("dlq-partition", b"0"),
        ("dlq-offset", b"7"),
        ("dlq-generation", b"1"),
    ]
    return Message(REPLAYS, at, key, value_of(event_id), headers)


@EITHER
def test_nothing_is_started_and_nothing_is_claimed(pause: Pause) -> None:
    its = stage(P0)
    its.dispatcher.pause(pause)
    its.read(P0, (0, "k", "a"), (1, None, "b"))

    its.settle(60.0)

    assert (its.handled, its.ledger.entries) == ([], {})
    assert its.dispatcher.held(P0)[0] == 2
    assert its.dispatcher.committable.get(P0) in (None, 0)
    assert its.dispatcher._rest() > 0.1  # it doesn't spin


@EITHER
def test_what_runs_finishes_and_what_waits_for_a_thread_does_not_begin(pause: Pause) -> None:
    its = stage(P0)
    its.read(P0, (0, "k", "a"), (1, "l", "b"), (2, None, "c"))
    its.round()
    job = hang(its)
    its.dispatcher.pause(pause)
    its.round(2)
    come_back(its, job)
    its.settle()

    assert its.handled == ["a"]
    assert its.status("a") is Status.PROCESSED
    assert its.status("b") is None  # given back: a paused event is nobody's
    assert its.dispatcher.committable == {P0: 1}

    its.dispatcher.pause(Pause())
    its.settle()
    assert sorted(its.handled) == ["a", "b", "c"]
    assert its.dispatcher.committable == {P0: 3}


@EITHER
def test_a_retry_that_falls_due_waits_and_keeps_its_attempts(pause: Pause) -> None:
    its = stage(P0, retry_delays=(5.0, 5.0))
    its.does["a"] = fail
    its.read(P0, (0, "k", "a"), (1, "k", "b"))
    its.settle()
    its.dispatcher.pause(pause)
    its.settle(600.0)
    assert its.handled == ["a"]
    assert its.status("a") is Status.RETRYING

    its.does.clear()
    its.dispatcher.pause(Pause())
    its.settle()
    assert its.handled == ["a", "a", "b"]
    assert its.ledger.entries["a"].attempts == 2


@EITHER
def test_events_of_a_key_stay_in_order_across_a_pause(pause: Pause) -> None:
    its = stage(P0)
    its.read(P0, *((at, "k", f"e{at}") for at in range(5)))
    its.round()
    job = hang(its)
    its.dispatcher.pause(pause)
    its.round(2)
    its.read(P0, *((at, "k", f"e{at}") for at in range(5, 8)))
    come_back(its, job)
    its.settle()
    its.dispatcher.pause(Pause())
    its.settle()

    assert its.handled == [f"e{at}" for at in range(8)]


def test_an_answer_that_was_on_its_way_starts_nothing() -> None:
    its = stage(P0)
    its.ledger.is_away = True
    its.read(P0, (0, "k", "a"))
    its.round(2)  # asked, and not answered
    pause(its)
    its.ledger.is_away = False
    its.settle(5.0)

    assert its.handled == []
    assert its.status("a") is None


def test_a_suspect_that_is_just_being_marked_does_not_begin() -> None:
    its = stage(P0)
    its.ledger.foreign("a", alive=False)
    its.read(P0, (0, "k", "a"))
    its.round()
    its.ledger.is_away = True
    its.round(2)
    its.ledger.is_away = False
    its.clock.now += 5.0
    its.dispatcher.pause(ALL)
    its.round()  # hears of the pause, and that the mark is written
    assert events_given_in(its) == []
    its.settle(5.0)
    assert its.handled == []

    resume(its)
    its.settle()
    assert its.handled == ["a"]


def test_a_topic_is_paused_in_the_replay_topic_too_and_others_go_on() -> None:
    its = stage(P0, REPLAYS)
    handler = its.decoder._handlers[TOPIC]
    its.decoder._handlers = {TOPIC: handler, "order.shipped": handler}
    pause(its, ONE_TOPIC)
    its.take_in(
        [
            replayed(0, "paused", TOPIC, b"k"),
            replayed(1, "free", "order.shipped", b"k"),
            replayed(2, "paused too", TOPIC),
        ]
    )
    its.settle(60.0)
    assert its.handled == ["free"]

    resume(its)
    its.settle()
    assert sorted(its.handled) == ["free", "paused", "paused too"]
    assert its.dispatcher.committable[REPLAYS] == 3


@EITHER
def test_a_partition_can_be_taken_away_while_it_is_paused(pause: Pause) -> None:
    its = stage(P0)
    its.read(P0, (0, "k", "a"))
    its.settle()
    its.dispatcher.pause(pause)
    its.read(P0, (1, "k", "b"), (2, None, "c"))
    its.settle()

    assert its.revoke(P0).done.is_set()
    assert its.release(P0) == {P0: 1}

    its.dispatcher.assign([P0])
    its.read(P0, (1, "k", "b"), (2, None, "c"))
    its.settle()
    assert its.handled == ["a"]


def test_one_topic_goes_on_while_another_stays_paused() -> None:
    its = stage(P0)
    pause(its, Pause(topics=frozenset({TOPIC, "order.shipped"})))
    its.read(P0, (0, "k", "a"))
    its.settle()
    pause(its, Pause(topics=frozenset({"order.shipped"})))
    its.settle()

    assert its.handled == ["a"]


def test_in_another_epoch_the_ledger_knows_the_group_by_another_name() -> None:
    its = stage(P0)
    its.dispatcher.enter_epoch(2)
    its.read(P0, (0, "k", "a"))
    its.settle()

    settlements = {each.group for call in its.ledger.calls for each in call[0]}
    claims = {each.group for call in its.ledger.calls for each in call[1]}
    assert settlements == claims == {f"{GROUP}@2"}
    assert its.dispatcher._exchange.lease == f"{WORKER}/{GROUP}"  # leases are of workers, not of epochs
    assert events_given_in(its) == []
