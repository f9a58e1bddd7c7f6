"""What a dispatcher tells an onlooker: how old each partition's oldest unsettled event is, and why it waits."""

from __future__ import annotations

import pytest

from bus.consumer.survey import Sight
from bus.errors import LedgerUnavailableError, PublishRefusedError
from bus.kafka.consumer import Partition
from bus.presence import Wait, Why
from tests.unit.dispatch_stage import P0, P1, Message, Stage, come_back, fail, fail_for_good, hang, stage, value_of

WRITTEN_MS = 1_700_000_000_000


def read(its: Stage, place: Partition, *events: tuple[int, str, str]) -> None:
    """Events written a second apart, by their offsets."""
    its.take_in(
        [Message(place, at, key.encode(), value_of(name), at_ms=WRITTEN_MS + 1000 * at) for at, key, name in events]
    )


def sights(its: Stage) -> dict[Partition, Sight]:
    its.dispatcher.survey(0)
    its.round()
    return dict(its.dispatcher.survey(0))


def oldest(its: Stage, place: Partition = P0) -> float | None:
    """Seconds after the first record was written."""
    its_oldest = sights(its)[place].oldest_ms
    return None if its_oldest is None else (its_oldest - WRITTEN_MS) / 1000


def wait_of(its: Stage, place: Partition = P0) -> Wait:
    wait = sights(its)[place].wait
    assert wait is not None
    return wait


def test_nothing_in_hand_is_nothing_to_tell() -> None:
    its = stage(P0)
    assert sights(its) == {}
    read(its, P0, (0, "k", "a"))
    its.settle()
    assert its.handled == ["a"]
    assert sights(its) == {}


def test_the_oldest_event_is_the_first_unsettled_one_wherever_it_is() -> None:
    its = stage(P0, P1, concurrency=1)
    read(its, P0, (0, "k", "a"), (1, "l", "b"), (2, "k", "c"))
    read(its, P1, (7, "m", "x"))
    assert (oldest(its), oldest(its, P1)) == (0, 7)
    job = hang(its)
    assert oldest(its) == 0
    come_back(its, job)
    its.settle()
    assert sights(its) == {}


def test_an_event_that_waits_for_its_retry_keeps_its_age_while_others_pass() -> None:
    its = stage(P0)
    its.does["a"] = fail
    read(its, P0, (0, "k", "a"), (1, "l", "b"), (2, "k", "c"))
    its.settle()
    assert its.handled == ["a", "b"]

    sight = sights(its)[P0]

    assert sight.oldest_ms == WRITTEN_MS
    assert sight.wait is not None
    assert (sight.wait.why, sight.wait.key, sight.wait.event_id, sight.wait.error) == (
        Why.RETRY,
        "k",
        "a",
        "ValueError",
    )
    assert sight.wait.detail == "attempt 1 failed: ValueError"
    assert sight.wait.until_ms is not None


def test_the_time_of_the_retry_is_a_time_of_day() -> None:
    its = stage(P0)
    its.dispatcher._surveyor._wall_clock = lambda: 50_000.0
    its.does["a"] = fail
    read(its, P0, (0, "k", "a"))
    its.settle()
    assert wait_of(its).until_ms == 50_005_000
    its.clock.now += 2
    assert wait_of(its).until_ms == 50_003_000


def test_an_outage_is_no_failed_attempt() -> None:
    def meet_an_outage() -> None:
        raise LedgerUnavailableError("away")

    its = stage(P0)
    its.does["a"] = meet_an_outage
    read(its, P0, (0, "k", "a"))
    its.settle()
    assert wait_of(its).why == Why.OUTAGE


def test_a_slow_handler_is_told_after_two_seconds_and_then_as_stuck() -> None:
    its = stage(P0, stuck_seconds=60.0)
    read(its, P0, (0, "k", "a"))
    its.round(3)
    hang(its)
    assert sights(its)[P0].wait is None
    its.clock.now += 3
    assert wait_of(its).why == Why.SLOW
    assert wait_of(its).detail.endswith("at work for 3 s")
    its.clock.now += 60
    its.round()
    assert wait_of(its).why == Why.STUCK


def test_a_dead_letter_that_cannot_be_written_says_why() -> None:
    its = stage(P0)
    its.does["a"] = fail_for_good
    read(its, P0, (0, "k", "a"))
    its.settle()
    assert sights(its)[P0] == Sight(WRITTEN_MS, None)  # on its way
    its.outbox.sent[0].on_delivery(PublishRefusedError("a", "the topic is full"))
    its.round()
    wait = wait_of(its)
    assert (wait.why, wait.error) == (Why.DEAD_LETTER, "PublishRefusedError")
    assert "full" in wait.detail


def test_without_redis_every_partition_waits_for_it() -> None:
    its = stage(P0, P1)
    its.ledger.is_away = True
    read(its, P0, (0, "k", "a"))
    its.round(3)
    assert wait_of(its).why == Why.REDIS
    assert oldest(its) == 0


def test_an_event_of_another_worker_is_waited_for() -> None:
    its = stage(P0)
    its.ledger.foreign("a", alive=True)
    read(its, P0, (0, "k", "a"))
    its.round(3)
    assert wait_of(its).why == Why.ELSEWHERE


def test_the_oldest_event_tells_before_others_do() -> None:
    its = stage(P0, concurrency=2)
    its.does["b"] = fail
    read(its, P0, (0, "k", "a"), (1, "l", "b"))
    its.round(3)
    [first] = [job for job in its.pool.waiting if job.works[0].event_id == "a"]
    its.pool.waiting.remove(first)
    first._next(its.clock)
    its.settle()
    assert wait_of(its).why == Why.RETRY  # the oldest one runs, and not for long
    its.clock.now += 3
    its.round()
    assert wait_of(its).event_id == "a"
    assert wait_of(its).why == Why.SLOW


def test_thousands_of_waiting_events_cost_one_look() -> None:
    its = stage(P0)
    read(its, P0, *((at, f"k{at}", f"e{at}") for at in range(3000)))
    assert oldest(its) == 0


@pytest.mark.expects_errors("partitions_not_described")
def test_a_look_that_fails_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for showing, and runs on the thread that all else rests on."""
    its = stage(P0)
    read(its, P0, (0, "k", "a"))
    monkeypatch.setattr("bus.consumer.progress.Progress.oldest", lambda self: 1 / 0)
    assert sights(its) == {}
    its.settle()
    assert its.handled == ["a"]


def test_looks_do_not_pile_up_while_the_dispatcher_is_held_up() -> None:
    its = stage(P0)
    read(its, P0, (0, "k", "a"))
    its.dispatcher._commands.clear()
    for _ in range(5):
        its.dispatcher.survey(0)
    assert len(its.dispatcher._commands) == 1
    its.round()
    its.dispatcher.survey(0)
    assert len(its.dispatcher._commands) == 1
