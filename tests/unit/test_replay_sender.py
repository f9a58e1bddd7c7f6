"""The sender with a Kafka that is made up, and a clock of the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from bus.errors import PublishRefusedError, PublishUnknownError
from bus.models import DeadLetter, LetterStatus, Replay, ReplayItem
from bus.replay import lease, operations
from bus.replay.lease import Holding
from bus.replay.pace import Pace
from tests.indexed import NOW
from tests.unit.replay_stage import Kafka, Time, numbered, running, sender, states

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def time() -> Time:
    return Time()


def test_a_slow_rate_holds_longer_than_a_lease(kafka: Kafka, time: Time) -> None:
    running(40, rate=0.1)
    its_sender, other = sender(kafka, time, lease_seconds=1), sender(kafka, time, "two", lease_seconds=1)
    while time.seconds < 100:
        its_sender.step()
        other.step()
        time.seconds += 0.4
    assert 10 <= len(kafka.sent()) <= 12


def test_what_is_refused_is_skipped_and_its_dead_letter_open_again(kafka: Kafka, time: Time) -> None:
    replay = running(3)
    kafka.answer = [None, PublishRefusedError("", "too large"), None]
    assert sender(kafka, time).step() == 2
    replay.refresh_from_db()
    assert (replay.sent, replay.skipped) == (2, 1)
    skipped = ReplayItem.objects.get(state=ReplayItem.State.SKIPPED)
    assert (skipped.sequence, skipped.note) == (2, "too large")
    letter = DeadLetter.objects.get(pk=skipped.dead_letter_id)
    assert (letter.status, letter.replayed_times) == (LetterStatus.OPEN, 0)


@pytest.mark.parametrize("loses", [False, True])
def test_what_was_not_acknowledged_is_looked_for_before_it_is_sent_again(kafka: Kafka, time: Time, loses: bool) -> None:
    replay = running(3)
    kafka.answer = [None, PublishUnknownError("", "no answer"), None]
    kafka.loses = [False, loses, False]
    its_sender = sender(kafka, time)
    assert its_sender.step() == 2
    assert states() == {"sent": 2, "taken": 1}
    assert its_sender.step() == 0, "it rests a while"
    time.seconds += 3
    assert its_sender.step() == 1
    replay.refresh_from_db()
    assert (replay.sent, replay.batch_ends) == (3, {})
    assert sorted(kafka.sent()) == ["event-0", "event-1", "event-2"]


def test_a_broken_client_is_replaced_and_nothing_skipped(kafka: Kafka, time: Time) -> None:
    running(2)

    class Breaking(list[Exception | None]):
        def pop(self, at: Any = 0) -> Exception | None:
            kafka.is_broken = True
            return super().pop(at)

    kafka.answer = Breaking([PublishRefusedError("", "fatal"), PublishRefusedError("", "fatal")])
    its_sender = sender(kafka, time)
    assert its_sender.step() == 0
    assert states() == {"taken": 2}
    time.seconds += 3
    assert its_sender.step() == 2
    assert kafka.sent() == ["event-0", "event-1"]
    assert kafka.opened > 1


def test_a_process_that_lost_its_lease_writes_nothing(kafka: Kafka, time: Time, monkeypatch: Any) -> None:
    running(2)
    first, second = sender(kafka, time, "one", lease_seconds=2), sender(kafka, time, "two", lease_seconds=2)
    send = kafka.send

    def stall(*args: Any, **options: Any) -> None:
        """While the first record is on its way, the other process takes over."""
        monkeypatch.setattr(kafka, "send", send)
        send(*args, **options)
        time.seconds += 3
        assert second.step() == 2

    monkeypatch.setattr(kafka, "send", stall)
    assert first.step() == 0
    replay = Replay.objects.get()
    assert (replay.sent, states()) == (2, {"sent": 2})
    assert sorted(set(kafka.sent())) == ["event-0", "event-1"]


def test_while_kafka_is_away_nothing_is_taken(kafka: Kafka, time: Time) -> None:
    running(2)
    kafka.is_away = True
    its_sender = sender(kafka, time)
    assert its_sender.step() == 0
    assert states() == {"waiting": 2}
    kafka.is_away = False
    time.seconds += 3
    assert its_sender.step() == 2


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(kafka: Kafka, time: Time) -> None:
    replay = running(2)
    kafka.answer = [PublishUnknownError("", "?"), PublishUnknownError("", "?")]
    its_sender = sender(kafka, time)
    its_sender.step()
    Replay.objects.filter(pk=replay.pk).update(batch_ends={"billing.replay": {"0": 1000}})
    time.seconds += 3
    assert its_sender.step() == 2
    assert len(kafka.sent()) == 2


def test_paused_means_that_no_more_is_taken(kafka: Kafka, time: Time) -> None:
    replay = running(30, rate=10)
    its_sender = sender(kafka, time)
    its_sender.step()
    operations.pause(replay.pk, "ada", NOW)
    before = len(kafka.sent())
    for _ in range(20):
        time.seconds += 0.5
        its_sender.step()
    assert len(kafka.sent()) == before
    operations.resume(replay.pk, "ada", NOW)
    for _ in range(20):
        time.seconds += 0.5
        its_sender.step()
    assert len(kafka.sent()) == 30


@pytest.mark.parametrize("loses", [False, True])
@pytest.mark.parametrize("unanswered", range(6))
def test_what_follows_an_unanswered_event_of_its_key_never_overtakes_it(
    kafka: Kafka, time: Time, unanswered: int, loses: bool
) -> None:
    replay = running(12)
    kafka.answer = [*[None] * unanswered, PublishUnknownError("", "no answer")]
    kafka.loses = [*[False] * unanswered, loses]
    its_sender = sender(kafka, time)
    for _ in range(10):
        its_sender.step()
        time.seconds += 3
    replay.refresh_from_db()
    assert (replay.sent, states()) == (12, {"sent": 12})
    assert sorted(kafka.sent()) == sorted(f"event-{number}" for number in range(12)), "each once"
    for key in range(3):
        mine = [number for number in map(numbered, kafka.sent()) if number % 3 == key]
        assert mine == sorted(mine), f"key-{key} arrived as {mine}"


def test_batches_grow_while_they_are_quick_and_shrink_when_they_take_long() -> None:
    holding = Holding(1, "one", 1, 30.0, 30.0, Pace(None, 0.0))
    holding.learn(1000, 0.2)
    holding.learn(2000, 0.2)
    holding.learn(4000, 0.2)
    assert holding.most == 4000
    holding.learn(17, 0.0)
    assert holding.most == 4000
    for _ in range(9):
        holding.learn(holding.most, 10.0)
    assert holding.most == 250


def test_cancelling_leaves_what_is_on_its_way(kafka: Kafka, time: Time) -> None:
    replay = running(4, canary=2)
    kafka.answer = [None, PublishUnknownError("", "no answer")]
    its_sender = sender(kafka, time)
    its_sender.step()
    assert states() == {"sent": 1, "taken": 1, "waiting": 2}

    operations.cancel(replay.pk, "ann", NOW)

    assert states() == {"sent": 1, "taken": 1, "skipped": 2}
    time.seconds += 3
    its_sender.step()
    assert states() == {"sent": 2, "skipped": 2}
    replay.refresh_from_db()
    assert (replay.taken_to, replay.batch_ends) == (0, {})


def test_a_batch_that_others_have_taken_leaves_nothing_behind(kafka: Kafka, time: Time) -> None:
    replay = running(2)
    DeadLetter.objects.update(status=LetterStatus.DISCARDED, discarded_by="bob")
    its_sender = sender(kafka, time)
    assert its_sender.step() == 0
    replay.refresh_from_db()
    assert (replay.skipped, replay.taken_to, replay.batch_ends) == (2, 0, {})
    assert kafka.sent() == []


def test_a_batch_that_was_taken_after_the_look_is_read_back(
    kafka: Kafka, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading the replay and getting the lease, whoever had it sends, hears nothing, and gives it back."""
    replay = running(3)
    one, two, acquire = sender(kafka, time, "one"), sender(kafka, time, "two"), lease.acquire

    def late(stale: Replay, owner: str, *arguments: Any) -> Holding | None:
        if owner == "two" and not kafka.sent():
            kafka.answer = [PublishUnknownError("", "no answer")] * 3
            assert one.serve(replay.pk) == 0
            Replay.objects.filter(pk=replay.pk).update(lease_number=stale.lease_number)
        return acquire(stale, owner, *arguments)

    monkeypatch.setattr(lease, "acquire", late)
    for _ in range(3):
        two.serve(replay.pk)
        time.seconds += 3
    replay.refresh_from_db()
    assert (replay.sent, replay.taken_to, sorted(kafka.sent())) == (3, 0, ["event-0", "event-1", "event-2"])


def test_a_range_of_which_nothing_is_left_keeps_nobody_from_going_on(kafka: Kafka, time: Time) -> None:
    replay = running(3)
    ReplayItem.objects.filter(sequence=1).update(state=ReplayItem.State.SKIPPED)
    Replay.objects.filter(pk=replay.pk).update(skipped=1, taken_to=1)
    assert sender(kafka, time).step() == 2
    replay.refresh_from_db()
    assert (replay.sent, replay.taken_to) == (2, 0)
