"""Replays end to end: real workers, a real sender, the index and the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from bus.deadletterindex.records import whole_record_of
from bus.envelope import Event, Metadata, encode, timestamp
from bus.errors import InvalidEventError
from bus.models import AuditEntry, DeadLetter, DeadLetterPayload, LetterStatus, Replay, ReplayItem
from bus.replay import operations
from bus.replay.edit import Edit, edited
from bus.replay.engine import Engine
from tests.kafka.subject import KafkaUnderTest
from tests.redis_server import RedisAddress
from tests.scenario.replays import drive, index_letters
from tests.scenario.stage import Stage

pytestmark = pytest.mark.django_db(transaction=True)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def engine() -> Iterator[Callable[[], Engine]]:
    """Opens engines, which are closed at the end."""
    engines: list[Engine] = []

    def open_it() -> Engine:
        engines.append(Engine())
        return engines[-1]

    yield open_it
    for each in engines:
        each.close()


def test_one_replay_is_seen_by_the_group_that_failed_alone(
    open_stage: Callable[..., Stage], engine: Callable[[], Engine]
) -> None:
    stage = open_stage(groups=("billing", "mailing"), partitions=2)
    billing, mailing = stage.shop.plan.handlers[0].group, stage.shop.plan.handlers[1].group
    sent = stage.send("ok", f"fail-live@{mailing}", keys=["a"])
    stage.wait_settled(stage.worker())
    (letter,) = index_letters(stage.topic)
    replay = operations.replay_one(letter.pk, "ada", now())
    its_engine = engine()
    assert its_engine.send_now(replay.pk, 10)
    drive(its_engine, replay)
    assert (replay.sent, replay.handled) == (1, 1)
    letter.refresh_from_db()
    assert letter.status == LetterStatus.RESOLVED
    assert stage.handled(mailing) == stage.numbers()
    assert stage.handled(billing) == stage.numbers()
    started = [each for each in stage.effects.read("started", billing) if each.number == sent[1].number]
    assert len(started) == 1
    (entry,) = AuditEntry.objects.filter(what="dead-letter.replay")
    assert (entry.who, entry.outcome, entry.changed) == ("ada", AuditEntry.Outcome.DONE, 1)
    assert replay.state == Replay.State.COMPLETED


def events_of(stage: Stage, number: int) -> list[str]:
    return [each.event_id for each in stage.effects.read("started") if each.number == number]


def test_an_edited_copy_is_an_event_of_its_own_and_its_failure_is_linked(
    open_stage: Callable[..., Stage], engine: Callable[[], Engine]
) -> None:
    stage = open_stage(partitions=1, max_attempts=1)
    stage.send("fail", "permanent", keys=["a"])
    stage.wait_settled(stage.worker())
    first, second = index_letters(stage.topic)
    its_engine = engine()

    fixed = edited(whole_record_of(first.pk), stage.topic, Edit(data={"n": 100, "do": "ok"}), "copy-1")
    broken = edited(whole_record_of(second.pk), stage.topic, Edit(data={"n": 200, "do": "fail"}, key=None), "copy-2")
    replays = [
        operations.replay_one(letter.pk, "ada", now(), edited=copy)
        for letter, copy in ((first, fixed), (second, broken))
    ]
    for replay in replays:
        drive(its_engine, replay, topics=[stage.topic])

    assert [(replay.handled, replay.failed_again_other) for replay in replays] == [(1, 0), (0, 1)]
    assert (events_of(stage, 100), events_of(stage, 200)) == (["copy-1"], ["copy-2"])
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.status, second.status) == (LetterStatus.RESOLVED, LetterStatus.SUPERSEDED)
    newer = DeadLetter.objects.get(event_id="copy-2")
    assert (newer.previous, newer.generation, newer.has_key) == (second, 1, False)
    headers = dict(whole_record_of(newer.pk).headers)
    assert headers["replay-of"] == second.event_id.encode()
    original = dict(whole_record_of(second.pk).headers)
    assert original["event-id"] == second.event_id.encode()


def test_a_dead_letter_without_a_group_goes_to_all_groups_of_its_topic(
    open_stage: Callable[..., Stage], engine: Callable[[], Engine]
) -> None:
    stage = open_stage(groups=("billing", "mailing"), partitions=1)
    event = Event(Metadata("foreign-1", stage.topic, timestamp(0)), {"n": 7})
    stage.write(encode(event), b"a", [("source", b"elsewhere")], topic=f"{stage.topic}.dlq")
    stage.writer.flush()
    (letter,) = index_letters(stage.topic)
    worker = stage.worker(ready=True)
    with pytest.raises(InvalidEventError, match="all groups of this topic"):
        operations.replay_one(letter.pk, "ada", now())
    its_engine = engine()
    replay = operations.replay_one(letter.pk, "ada", now(), all_groups=True)
    drive(its_engine, replay)
    worker.wait_for(lambda: len(stage.effects.done()) == 2)
    assert replay.handled == 1
    assert {each.group for each in stage.effects.read("done")} == set(stage.shop.plan.groups)
    letter.refresh_from_db()
    assert letter.status == LetterStatus.RESOLVED


def test_what_was_too_large_for_its_dead_letter_is_taken_from_its_origin(
    open_stage: Callable[..., Stage], engine: Callable[[], Engine]
) -> None:
    stage = open_stage(partitions=1, max_attempts=1)
    data = {"n": 1, "do": "fail-live", "much": "x" * 2_050_000}
    event = Event(Metadata("large-1", stage.topic, timestamp(0)), data)
    stage.write(encode(event), b"a", [("mine", b"kept")])
    stage.writer.flush()
    stage.wait_settled(stage.worker())
    (letter,) = index_letters(stage.topic)
    assert whole_record_of(letter.pk).value == encode(event)
    replay = operations.replay_one(letter.pk, "ada", now())
    drive(engine(), replay)
    assert (replay.sent, replay.handled) == (1, 1)


def test_an_outcome_that_the_ledger_forgot_is_told_by_commits_and_the_index(
    open_stage: Callable[..., Stage], engine: Callable[[], Engine], redis_url: str
) -> None:
    stage = open_stage(partitions=1, max_attempts=1)
    stage.send("fail-live", "fail", "fail-live", keys=["a"])
    stage.wait_settled(stage.worker())
    letters = index_letters(stage.topic)
    early, its_engine = engine(), engine()
    replays = [operations.replay_one(letter.pk, "ada", now()) for letter in letters]
    for replay in replays:
        assert early.send_now(replay.pk, 10)
    stage.writer.ends[f"{stage.group}.replay"] = {0: 3}
    stage.wait_settled()
    RedisAddress(redis_url).flush()
    ReplayItem.objects.update(sent_at=now() - timedelta(minutes=2))

    its_engine.outcomes.step()
    assert Replay.objects.filter(state=Replay.State.COMPLETED).count() == 0, "the index hasn't read the new one"
    index_letters(stage.topic)
    late = engine()
    for replay in replays:
        drive(late, replay)
    assert [(replay.handled, replay.failed_again_same) for replay in replays] == [(1, 0), (0, 1), (1, 0)]


def test_a_replay_to_a_topic_that_is_not_there_is_refused_and_the_dead_letter_open_again(
    open_stage: Callable[..., Stage], engine: Callable[[], Engine]
) -> None:
    stage = open_stage(partitions=1, max_attempts=1)
    stage.send("fail")
    stage.wait_settled(stage.worker())
    (letter,) = index_letters(stage.topic)
    DeadLetterPayload.objects.filter(pk=letter.pk).update(value=b"x" * 3_000_000)
    replay = operations.replay_one(letter.pk, "ada", now())
    drive(engine(), replay)
    assert (replay.sent, replay.skipped) == (0, 1)
    letter.refresh_from_db()
    assert (letter.status, letter.replayed_times) == (LetterStatus.OPEN, 0)


def test_while_kafka_is_away_a_replay_waits_and_nothing_is_lost(
    open_stage: Callable[..., Stage], engine: Callable[[], Engine], stoppable_kafka: KafkaUnderTest
) -> None:
    stage = open_stage(partitions=1, max_attempts=1)
    stage.send("fail-live")
    stage.wait_settled(stage.worker())
    (letter,) = index_letters(stage.topic)
    its_engine = engine()
    stoppable_kafka.stop()
    replay = operations.replay_one(letter.pk, "ada", now())
    assert not its_engine.send_now(replay.pk, 1)
    stoppable_kafka.start()
    drive(its_engine, replay, seconds=60)
    assert (replay.sent, replay.handled) == (1, 1)
    assert len([each for each in stage.effects.read("done") if each.generation == 1]) == 1
