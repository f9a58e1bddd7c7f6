"""The dispatcher's promises, one round at a time: nothing lost, nothing twice, nothing stuck."""

from __future__ import annotations

import pytest

from bus.consumer import exchange
from bus.errors import PublishUnknownError
from bus.ledger import Status
from tests.unit.dispatch_stage import (
    P0,
    P1,
    Stage,
    come_back,
    events_given_in,
    fail,
    fail_for_good,
    go_on,
    hang,
    stage,
)


def warm_up(its: Stage) -> None:
    """Let the dispatcher see that handlers are fast, so that its runs are long."""
    for first in range(0, 64, 8):
        its.read(P0, *((at, "w", f"w{at}") for at in range(first, first + 8)))
        its.clock.now += 0.1
        its.settle()


def idle_down(its: Stage) -> None:
    """Let the dispatcher see a low rate."""
    for at in range(800, 820):
        its.read(P0, (at, f"idle{at}", f"i{at}"))
        its.clock.now += 1.0
        its.settle()


def test_a_second_copy_that_is_alone_in_its_round_waits_for_the_first() -> None:
    its = stage(P0, P1)
    its.read(P0, (0, None, "a"))
    its.round()  # the first copy is with a handler
    its.read(P1, (0, None, "a"))
    its.round(3)

    its.settle(1.0)

    assert its.handled == ["a"]
    assert its.dispatcher.committable == {P0: 1, P1: 1}


def test_a_record_read_again_while_its_handler_still_runs_is_finished_with_it() -> None:
    its = stage(P0)
    its.read(P0, (0, None, "a"))
    its.round()
    zombie = hang(its)
    its.revoke(P0)
    its.release(P0)
    its.dispatcher.assign([P0])
    its.read(P0, (0, None, "a"))
    its.settle(1.0)
    assert its.dispatcher.held(P0)[0] == 1

    come_back(its, zombie)
    its.settle(1.0)

    assert its.handled == ["a"]
    assert its.dispatcher.committable == {P0: 1}
    assert its.dispatcher.held(P0) == (0, 0)


def test_many_events_of_one_key_leave_room_for_other_keys() -> None:
    its = stage(P0)
    its.read(P0, *((at, "slow", f"s{at}") for at in range(40)))
    its.round(3)
    its.read(P0, (40, "other", "quick"))
    its.round(3)

    assert "quick" in events_given_in(its)


def test_a_handler_that_hangs_leaves_room_for_other_keys() -> None:
    its = stage(P0)
    warm_up(its)
    its.read(P0, *((at, "slow", f"s{at}") for at in range(100, 164)))
    its.round()
    hung = hang(its)

    idle_down(its)
    its.read(P0, (900, "other", "quick"))
    its.round(3)

    assert "quick" in events_given_in(its)
    assert hung.current is not None


def test_what_a_hung_handler_holds_up_is_free_for_others() -> None:
    its = stage(P0, concurrency=1)
    warm_up(its)
    its.read(P0, *((at, None, f"e{at}") for at in range(100, 120)))
    its.round(2)
    hung = hang(its)
    assert len(hung.works) > 1

    its.clock.now += its.dispatcher.settings.stuck_seconds + 1
    its.settle()

    assert sorted(its.handled[-19:]) == [f"e{at}" for at in range(101, 120)]
    assert its.status("e100") is Status.PROCESSING


def test_a_hung_handler_keeps_only_its_own_event_when_the_partition_is_taken_away() -> None:
    its = stage(P0, concurrency=1)
    warm_up(its)
    its.read(P0, *((at, "key", f"e{at}") for at in range(100, 120)))
    its.round(2)
    hung = hang(its)
    assert len(hung.works) > 1

    its.revoke(P0)
    its.release(P0)

    assert [name for name, entry in its.ledger.entries.items() if entry.status is Status.PROCESSING] == ["e100"]


def test_events_of_a_key_keep_their_order_after_a_hung_handler_comes_back() -> None:
    its = stage(P0, concurrency=1)
    warm_up(its)
    its.read(P0, *((at, "key", f"e{at}") for at in range(100, 110)))
    its.round(2)
    hung = hang(its)
    its.clock.now += its.dispatcher.settings.stuck_seconds + 1
    its.settle()
    assert its.handled[-1] == "w63"

    come_back(its, hung)
    its.settle()

    assert its.handled[-10:] == [f"e{at}" for at in range(100, 110)]
    assert its.dispatcher.committable[P0] == 110
    assert its.dispatcher.held(P0) == (0, 0)


def test_dead_letters_that_cannot_be_written_leave_room_for_other_partitions() -> None:
    its = stage(P0, P1)
    for at in range(40):
        its.does[f"d{at}"] = fail_for_good
    its.read(P0, *((at, f"k{at}", f"d{at}") for at in range(40)))
    its.settle()
    assert len(its.outbox.sent) == 40  # and none is acknowledged

    its.read(P1, (0, "key", "fine"))
    its.settle()

    assert its.handled[-1] == "fine"
    assert P0 not in its.dispatcher.committable


def test_a_retry_that_is_due_while_all_handlers_are_busy_is_waited_for_in_peace() -> None:
    its = stage(P0, concurrency=1)
    its.does["again"] = fail
    its.read(P0, (0, "a", "again"))
    its.settle()
    its.read(P0, *((at, f"k{at}", f"e{at}") for at in range(1, 9)))
    its.round(3)

    its.clock.now += 60
    its.round(2)

    assert its.dispatcher._rest() > 0.1


def test_nothing_of_a_partition_that_is_being_taken_away_is_begun_again() -> None:
    its = stage(P0)
    its.does["a"] = fail_for_good
    its.read(P0, (0, None, "a"))
    its.round()
    its.perform()
    its.round()
    its.ledger.foreign("a", alive=True)  # our lease had lapsed for a moment
    its.revoke(P0)
    its.outbox.sent[0].acknowledge()
    its.round(3)

    its.release(P0)
    its.settle(60.0)

    assert its.handled == ["a"]
    assert its.dispatcher.held(P0) == (0, 0)


def test_a_dead_letter_that_fails_after_its_partition_is_gone_is_left_to_the_next_owner() -> None:
    its = stage(P0)
    its.does["a"] = fail_for_good
    its.read(P0, (0, "key", "a"))
    its.round()
    its.perform()
    its.round()
    revocation = its.revoke(P0)
    its.release(P0)
    assert its.status("a") is Status.PROCESSING

    its.outbox.sent[0].on_delivery(PublishUnknownError("a", "no answer"))
    its.settle(60.0)

    assert its.status("a") is None
    assert len(its.outbox.sent) == 1
    assert revocation.done.is_set()


def test_an_event_in_hand_keeps_its_offset_when_its_partition_is_announced_twice() -> None:
    its = stage(P0)
    its.read(P0, (0, "a", "a"), (1, "b", "b"))
    its.round()
    its.dispatcher.assign([P0])
    its.read(P0, (2, "c", "c"))
    hung = hang(its)
    its.settle()

    assert its.handled == ["b", "c"]
    assert its.dispatcher.committable.get(P0, 0) == 0
    come_back(its, hung)
    its.settle()
    assert its.dispatcher.committable == {P0: 3}


def test_attempts_are_counted_while_redis_is_away() -> None:
    its = stage(P0, on_redis_down="process", retry_delays=(5.0, 5.0))
    its.does["a"] = fail
    its.ledger.is_away = True
    its.read(P0, (0, "key", "a"))

    for _ in range(20):
        its.settle(2.0)

    assert its.handled == ["a", "a", "a"]
    assert [sent.headers["dlq-attempts"] for sent in its.outbox.sent] == [b"3"]


def test_an_event_is_not_claimed_before_its_own_outcome_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MOST_SETTLEMENTS", 2)
    its = stage(P0, P1, concurrency=8)
    its.read(P0, *((at, None, f"e{at}") for at in range(8)))
    its.round()
    its.read(P1, *((at, None, f"e{at}") for at in range(8)))
    its.round()
    its.clock.now += 1.0

    its.perform()
    its.settle(1.0)

    assert sorted(its.handled) == [f"e{at}" for at in range(8)]
    assert its.dispatcher.committable == {P0: 8, P1: 8}


def test_what_was_handled_before_a_handler_hangs_is_settled() -> None:
    its = stage(P0, concurrency=1)
    warm_up(its)
    its.read(P0, *((at, "key", f"e{at}") for at in range(100, 110)))
    its.round(2)
    job = hang(its)
    go_on(its, job)  # from the first to the second event
    go_on(its, job)

    its.revoke(P0)
    released = its.release(P0)

    assert [its.status(f"e{at}") for at in (100, 101, 102, 103)] == [
        Status.PROCESSED,
        Status.PROCESSED,
        Status.PROCESSING,
        None,
    ]
    assert released == {P0: 102}
    come_back(its, job)
    its.settle()
    assert its.status("e102") is Status.PROCESSED


def test_a_handler_that_outlives_its_worker_makes_its_event_no_suspect() -> None:
    its = stage(P0)
    its.ledger.foreign("slow", alive=False)
    its.read(P0, (0, "key", "slow"))
    its.round(3)
    hang(its)
    its.dispatcher.start()
    its.dispatcher.end(timeout=10)

    other = stage(P0, ledger=its.ledger, worker="another")
    other.read(P0, (0, "key", "slow"))
    other.settle()
    assert other.handled == []
    other.settle(31.0)

    assert other.handled == ["slow"]
    assert its.ledger.leases.keys() == {"another/billing"}
    assert [claim.alone for _, claims in other.ledger.calls for claim in claims][-1] is False
