"""What a worker tells the activity stream of each event: every step once, with the attempt that it belongs to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from bus.activity import Transition
from bus.activity.sample import MOST_TRANSITIONS
from bus.errors import LedgerUnavailableError, RetryLater, SkipEvent
from bus.handlers import Handler
from bus.ledger import Status
from tests.unit.dispatch_stage import (
    GROUP,
    P0,
    P1,
    TOPIC,
    WORKER,
    Message,
    Stage,
    come_back,
    fail,
    fail_for_good,
    hang,
    stage,
    value_of,
)
from tests.unit.heard import Heard


def steps(its: Stage, event_id: str) -> list[tuple[str, int]]:
    """What was told of an event: outcome and attempt."""
    return [(each.outcome, each.attempt) for each in its.heard.of(event_id)]


def raises(error: BaseException) -> Callable[[], None]:
    def handle() -> None:
        raise error

    return handle


def test_an_event_that_is_handled_begins_and_is_done() -> None:
    its = stage(P0)
    its.read(P0, (7, "ключ", "a"))
    before = int(time.time() * 1000)
    its.settle()

    begun, done = its.heard.of("a")
    assert done == Transition(
        done.at_ms, "processed", "a", TOPIC, GROUP, 0, 7, "ключ", attempt=1, duration_ms=done.duration_ms, worker=WORKER
    )
    assert begun == done._replace(outcome="processing", at_ms=begun.at_ms, duration_ms=None)
    assert before <= begun.at_ms <= done.at_ms <= int(time.time() * 1000)
    assert its.heard.counts == {"processing": 1, "processed": 1}
    assert its.heard.activity.durations == [(TOPIC, GROUP, {0: 1})]


def test_a_handler_that_is_still_running_is_told_of() -> None:
    its = stage(P0)
    its.read(P0, (0, None, "a"))
    its.round(2)
    assert its.heard.counts == {}

    job = its.pool.waiting[0]
    its.does["a"] = lambda: seen.append(steps(its, "a"))
    seen: list[Any] = []
    job.perform(its.clock)

    assert seen == [[("processing", 1)]]


def test_each_failed_attempt_tells_when_the_next_one_is_due_and_the_last_one_that_it_failed() -> None:
    its = stage(P0, retry_delays=(5.0, 7.0))
    its.does["a"] = raises(ValueError("no\udcff" + "x" * 400))
    its.read(P0, (0, None, "a"))
    for _ in range(3):
        its.settle(8.0)
    [letter] = its.outbox.sent
    assert steps(its, "a")[-1] == ("processing", 3)  # failed only when Kafka has its dead letter

    letter.acknowledge()
    its.settle(8.0)

    assert sorted(steps(its, "a"), key=lambda step: step[1]) == [
        ("processing", 1), ("retrying", 1), ("processing", 2), ("retrying", 2), ("processing", 3), ("failed", 3),
    ]  # fmt: skip
    first, second = [each for each in its.heard.of("a") if each.outcome == "retrying"]
    assert [each.next_retry_at_ms for each in (first, second)] == [first.at_ms + 5000, second.at_ms + 7000]
    assert first.error is not None
    assert first.error.startswith("ValueError: no")
    assert len(first.error) <= 300
    [failed] = [each for each in its.heard.of("a") if each.outcome == "failed"]
    assert (failed.reason, failed.error, failed.duration_ms) == ("exhausted", first.error, 0)
    assert its.heard.counts == {"processing": 3, "retrying": 2, "failed": 1}
    assert its.heard.activity.durations == [(TOPIC, GROUP, {0: 3})]


def test_the_redelivery_of_a_retry_is_no_duplicate() -> None:
    its = stage(P0)
    its.does["a"] = raises(RetryLater(30))
    its.read(P0, (0, None, "a"))
    its.settle()
    its.does["a"] = lambda: None
    its.settle(31.0)

    assert steps(its, "a") == [("processing", 1), ("retrying", 1), ("processing", 2), ("processed", 2)]
    [retrying] = [each for each in its.heard.of("a") if each.outcome == "retrying"]
    assert retrying.next_retry_at_ms == retrying.at_ms + 30_000


def test_an_event_that_another_worker_took_over_while_it_waited_is_no_duplicate() -> None:
    its = stage(P0)
    its.does["a"] = fail
    its.read(P0, (0, None, "a"))
    its.settle()
    its.ledger.foreign("a", alive=True)
    its.ledger.entries["a"].status = Status.PROCESSED
    its.settle(6.0)

    assert its.dispatcher.committable == {P0: 1}
    assert steps(its, "a") == [("processing", 1), ("retrying", 1)]


def test_a_second_copy_is_told_of_once_with_where_it_lies_and_what_the_first_one_came_to() -> None:
    its = stage(P0, P1)
    its.does["b"] = fail_for_good
    its.read(P0, (0, None, "a"), (1, None, "b"))
    its.settle()
    its.outbox.sent[0].acknowledge()
    its.settle()
    its.read(P1, (5, "k", "a"), (6, None, "b"))
    its.settle(1.0)

    copies = [each for each in its.heard.activity.transitions if each.outcome == "duplicate"]
    assert sorted((each.event_id, each.partition, each.offset, each.key, each.reason) for each in copies) == [
        ("a", 1, 5, "k", "processed"), ("b", 1, 6, None, "failed"),
    ]  # fmt: skip
    assert its.heard.counts == {"processing": 2, "processed": 1, "failed": 1, "duplicate": 2}


def test_copies_in_one_batch_are_one_event_and_one_duplicate() -> None:
    its = stage(P0)
    its.read(P0, (0, None, "a"), (1, None, "a"))
    its.settle(1.0)

    assert its.heard.counts == {"processing": 1, "processed": 1, "duplicate": 1}


def test_what_its_handler_does_not_want_is_skipped() -> None:
    its = stage(P0)
    its.does["a"] = raises(SkipEvent())
    its.read(P0, (0, None, "a"))
    its.settle()

    assert steps(its, "a") == [("processing", 1), ("skipped", 1)]
    assert its.heard.activity.durations == []


def test_an_event_that_its_handler_never_sees_does_not_begin() -> None:
    its = stage(P0)
    its.take_in([Message(P0, 0, None, b"{")])
    handler = Handler(GROUP, (TOPIC,), print, priorities=frozenset({"high"}))
    its.decoder._handlers = {TOPIC: handler}
    its.read(P0, (1, None, "unwanted"))
    its.settle()
    its.outbox.sent[0].acknowledge()
    its.settle()

    assert its.heard.counts == {"failed": 1, "skipped": 1}
    [failed, skipped] = sorted(its.heard.activity.transitions, key=lambda each: each.outcome)
    assert (failed.reason, failed.offset, failed.attempt) == ("undecodable", 0, 1)
    assert failed.error is not None
    assert "EnvelopeError" in failed.error
    assert (skipped.event_id, skipped.outcome) == ("unwanted", "skipped")
    assert its.heard.activity.durations == []


def test_an_outage_is_no_attempt_that_failed() -> None:
    its = stage(P0)
    its.does["a"] = raises(LedgerUnavailableError("Redis is away"))
    its.read(P0, (0, None, "a"))
    its.settle()
    its.does["a"] = lambda: None
    its.settle(3.0)

    assert steps(its, "a") == [("processing", 1), ("processing", 1), ("processed", 1)]


def test_a_replay_is_told_of_with_its_generation_and_its_origin() -> None:
    its = stage((f"{GROUP}.replay", 0))
    headers: list[tuple[str, bytes | None]] = [
        ("event-id", b"a"), ("dlq-group", GROUP.encode()), ("dlq-topic", TOPIC.encode()), ("dlq-partition", b"3"),
        ("dlq-offset", b"42"), ("dlq-timestamp", b"1700000000000"), ("dlq-generation", b"2"),
    ]  # fmt: skip
    its.take_in([Message((f"{GROUP}.replay", 0), 9, b"k", value_of("a"), headers)])
    its.settle()

    _, done = its.heard.of("a")
    assert (done.topic, done.partition, done.offset, done.generation) == (TOPIC, 3, 42, 2)


def test_what_a_stuck_handler_leaves_behind_is_told_of_once() -> None:
    its = stage(P0, concurrency=1)
    its.read(P0, *((at, "key", f"e{at}") for at in range(10)))
    its.round(2)
    hung = hang(its)
    its.clock.now += its.dispatcher.settings.stuck_seconds + 1
    its.settle()
    come_back(its, hung)
    its.settle()

    assert its.heard.counts["processed"] == 10


def test_counts_are_exact_and_few_events_are_described_at_a_high_rate() -> None:
    its = stage(P0, concurrency=100)
    its.read(P0, *((at, f"k{at}", f"e{at}") for at in range(1000)))
    for _ in range(40):
        its.clock.now += 0.1
        its.settle()

    assert its.heard.counts == {"processing": 1000, "processed": 1000}
    assert [len(kept) for kept in its.heard._sample._kept] == [0, 0, MOST_TRANSITIONS, MOST_TRANSITIONS, 0]


@pytest.mark.expects_errors("activity_not_described")
def test_an_event_that_cannot_be_described_is_handled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    its = stage(P0)
    monkeypatch.setattr(Heard, "keep", lambda *_: raises(RuntimeError("bug"))())
    its.read(P0, (0, None, "a"))
    its.settle()

    assert its.handled == ["a"]
    assert its.heard.counts == {"processing": 1, "processed": 1}
