"""The next batch is read while one is on its way: whatever breaks at whatever moment, each event is sent once, and in
the order of its key."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DatabaseError

from bus.errors import BusError, PublishUnknownError
from bus.models import DeadLetter, LetterStatus, Replay, ReplayItem
from bus.replay import batch, lease, operations
from bus.replay.sender import Sender
from tests.indexed import NOW
from tests.unit.replay_stage import Kafka, Time, numbered, running, sender, states

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def open_sender(kafka: Kafka, time: Time, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Sender]]:
    """Senders that take three events at once."""
    acquire = lease.acquire

    def acquire_few(*arguments: Any) -> lease.Holding | None:
        holding = acquire(*arguments)
        if holding is not None:
            holding.most = 3
        return holding

    monkeypatch.setattr(lease, "acquire", acquire_few)
    monkeypatch.setattr(lease.Holding, "learn", lambda self, count, seconds: None)
    opened: list[Sender] = []

    def open_(owner: str = "one") -> Sender:
        opened.append(sender(kafka, time, owner, lease_seconds=10))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def failing(function: Callable[..., Any], times: list[bool]) -> Callable[..., Any]:
    """The function, which raises DatabaseError where the list says so, before or after its work."""

    def call(*arguments: Any, **options: Any) -> Any:
        if times and times.pop(0):
            raise DatabaseError("away")
        return function(*arguments, **options)

    return call


def finish(its_sender: Sender, time: Time, steps: int = 60) -> None:
    for _ in range(steps):
        try:
            its_sender.step()
        except (DatabaseError, BusError):
            pass  # the monitor tries again
        time.seconds += 1
        if not ReplayItem.objects.filter(state=ReplayItem.State.WAITING).exists():
            return


def check(kafka: Kafka, replay: Replay, count: int) -> None:
    replay.refresh_from_db()
    assert (replay.sent + replay.skipped, replay.taken_to, replay.batch_ends) == (count, 0, {})
    assert sorted(kafka.sent()) == sorted(f"event-{number}" for number in range(count)), "each once"
    for key in range(3):
        mine = [number for number in map(numbered, kafka.sent()) if number % 3 == key]
        assert mine == sorted(mine), f"key-{key} arrived as {mine}"


def test_the_next_batch_is_read_by_another_thread(
    kafka: Kafka, open_sender: Callable[..., Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    replay, threads, next_items = running(10), list[int](), batch.next_items

    def watched(*arguments: Any, **options: Any) -> Any:
        threads.append(threading.get_ident())
        return next_items(*arguments, **options)

    monkeypatch.setattr(batch, "next_items", watched)
    its_sender = open_sender()
    assert its_sender.step() == 3
    assert states() == {"sent": 3, "waiting": 7}, "reading takes nothing"
    assert [its_sender.step() for _ in range(4)] == [3, 3, 1, 0]
    check(kafka, replay, 10)
    assert [each == threading.get_ident() for each in threads] == [True, False, False, False]


def test_a_batch_that_was_only_read_is_not_sent_when_it_is_paused(
    kafka: Kafka, time: Time, open_sender: Callable[..., Sender]
) -> None:
    replay, its_sender = running(10), open_sender()
    its_sender.step()
    operations.pause(replay.pk, "ada", NOW)
    assert [its_sender.step() for _ in range(3)] == [0, 0, 0]
    assert states() == {"sent": 3, "waiting": 7}
    operations.resume(replay.pk, "ada", NOW)
    finish(its_sender, time)
    check(kafka, replay, 10)


def test_another_rate_holds_from_the_next_batch_on(
    kafka: Kafka, time: Time, open_sender: Callable[..., Sender]
) -> None:
    replay, its_sender = running(24), open_sender()
    assert [its_sender.step() for _ in range(2)] == [3, 3]

    operations.change_rate(replay.pk, 1.0, "ada", NOW)
    sent = []
    for _ in range(10):
        sent.append(its_sender.step())
        time.seconds += 0.5
    assert 4 <= sum(sent) <= 6, "what went before is no debt, and no credit either"

    operations.change_rate(replay.pk, None, "ada", NOW)
    assert its_sender.step() == 3
    finish(its_sender, time)
    check(kafka, replay, 24)


def test_a_canary_is_not_overtaken(kafka: Kafka, time: Time, open_sender: Callable[..., Sender]) -> None:
    replay, its_sender = running(12, canary=5), open_sender()
    for _ in range(5):
        its_sender.step()
    assert states() == {"sent": 5, "waiting": 7}
    replay.refresh_from_db()
    assert replay.state == Replay.State.WAITING_FOR_CANARY


def test_what_another_process_sent_meanwhile_is_not_sent_again(
    kafka: Kafka, time: Time, open_sender: Callable[..., Sender]
) -> None:
    replay, first = running(10), open_sender("one")
    first.step()
    time.seconds += 11
    open_sender("two").step()
    assert states() == {"sent": 6, "waiting": 4}
    time.seconds += 11

    finish(first, time)

    check(kafka, replay, 10)


def test_what_is_discarded_meanwhile_is_not_sent(kafka: Kafka, time: Time, open_sender: Callable[..., Sender]) -> None:
    replay, its_sender = running(9), open_sender()
    DeadLetter.objects.filter(event_id__in=["event-3", "event-4", "event-5"]).update(status=LetterStatus.DISCARDED)
    finish(its_sender, time)
    assert sorted(map(numbered, kafka.sent())) == [0, 1, 2, 6, 7, 8]
    replay.refresh_from_db()
    assert (replay.sent, replay.skipped, replay.taken_to) == (6, 3, 0)


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("step", ["take", "settle"])
def test_a_database_that_is_away_for_a_moment_loses_and_doubles_nothing(
    kafka: Kafka,
    time: Time,
    open_sender: Callable[..., Sender],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    at: int,
) -> None:
    replay = running(12)
    monkeypatch.setattr(batch, step, failing(getattr(batch, step), [*[False] * at, True]))
    finish(open_sender(), time)
    check(kafka, replay, 12)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_breaks_each_event_is_sent_once_and_in_the_order_of_its_key(
    kafka: Kafka, time: Time, open_sender: Callable[..., Sender], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    replay = running(24)
    kafka.answer = [chance.choice([None] * 7 + [PublishUnknownError("", "?")]) for _ in range(40)]
    kafka.loses = [answer is not None and chance.random() < 0.5 for answer in kafka.answer]
    for step in ("take", "settle"):
        times = [chance.random() < 0.2 for _ in range(12)]
        monkeypatch.setattr(batch, step, failing(getattr(batch, step), times))
    its_sender = open_sender("process 0")
    for number in range(1, 100):
        try:
            its_sender.step()
        except (DatabaseError, BusError):
            pass
        time.seconds += 1
        if chance.random() < 0.15:  # it is killed; its lease lapses
            time.seconds += 11
            its_sender = open_sender(f"process {number}")
        if chance.random() < 0.1:
            try:
                operations.pause(replay.pk, "ada", NOW)
                operations.resume(replay.pk, "ada", NOW)
            except BusError:
                pass  # everything is sent
    check(kafka, replay, 24)
