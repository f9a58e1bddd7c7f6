"""Replays of many: senders killed and frozen, two at once, canaries, and every event counted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection

from bus.deadletterindex.pages import LetterFilter
from bus.models import DeadLetter, ErrorGroupPlace, LetterStatus, Replay, ReplayItem
from bus.replay import operations
from bus.replay.engine import Engine
from bus.replay.plan import Choice, plan
from bus.replay.refusals import NotPossibleError
from tests.kafka.contact import records_of
from tests.processes import wait_until
from tests.scenario.replays import drive, index_letters
from tests.scenario.stage import Stage
from tests.worker.process import Worker

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = {"BUS_LEASE_SECONDS": "2", "BUS_MONITOR_LEASE_SECONDS": "2"}
COUNT = 4000
"""More than a few batches."""


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def run_command(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Runs `manage.py` on the database of the tests: `run_command(stage, "replay", "--follow", "1", crash_at=[…])`."""
    started: list[Worker] = []

    def start(stage: Stage, *command: str, **accidents: list[str]) -> Worker:
        env = {**stage.shop.env, **LEASE, "DATABASE_URL": _database()}
        started.append(Worker(tmp_path / f"command-{len(started) + 1}", list(command), env, **accidents))
        return started[-1]

    yield start
    for each in started:
        each.sigkill()


def _database() -> str:
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    return (
        f"postgres://{settings['USER']}:{settings['PASSWORD']}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"
    )


@pytest.fixture
def engine() -> Iterator[Engine]:
    its_engine = Engine()
    yield its_engine
    its_engine.close()


def failed_stage(open_stage: Callable[..., Stage], count: int, order: str = "fail-live", **options: int) -> Stage:
    """A stage where that many events, in ten keys, became dead letters and are indexed."""
    stage = open_stage(partitions=options.get("partitions", 2), max_attempts=1)
    stage.send(*[order] * count, keys=[f"key-{number}" for number in range(10)])
    stage.wait_settled(stage.worker())
    assert len(index_letters(stage.topic)) == count
    return stage


def planned(stage: Stage) -> Replay:
    return plan(Choice(LetterFilter(topic=stage.topic)), "ada", now(), None).replay


def starts_of_replays(stage: Stage) -> list[int]:
    return sorted(each.number or 0 for each in stage.effects.read("done") if each.generation == 1)


POINTS = [
    # Taken, nothing sent.
    "bus.replay.sender:Sender._send:before:1",
    # Some of a batch handed to the client.
    "bus.kafka.producer:RecordProducer.send:after:37",
    # All of a batch acknowledged, nothing written down.
    "bus.replay.batch:settle:before:1",
]


@pytest.mark.slow
def test_a_sender_killed_three_times_neither_loses_nor_repeats_an_event(
    open_stage: Callable[..., Stage], run_command: Callable[..., Worker], engine: Engine
) -> None:
    stage = failed_stage(open_stage, 300)
    replay = planned(stage)
    operations.run(replay.pk, "ada", now(), rate=400)
    for point in POINTS:
        sender = run_command(stage, "replay", "--follow", str(replay.pk), crash_at=[point])
        sender.wait_for_accident()
        wait_until(lambda: sender.returncode is not None, 10, "the end of the sender")  # noqa: B023
    drive(engine, replay)
    assert (replay.sent, replay.handled, replay.skipped) == (300, 300, 0)
    assert starts_of_replays(stage) == stage.numbers()
    assert set(DeadLetter.objects.values_list("status", flat=True)) == {LetterStatus.RESOLVED}


@pytest.mark.slow
def test_a_monitor_killed_three_times_replays_everything_once(
    open_stage: Callable[..., Stage], run_command: Callable[..., Worker]
) -> None:
    stage = failed_stage(open_stage, COUNT, "fail-live")
    replay = planned(stage)
    operations.run(replay.pk, "ada", now())
    for point in (
        "bus.kafka.producer:RecordProducer.send:after:333",
        "bus.replay.batch:settle:before:2",
        "bus.replay.batch:settle:after:2",
    ):
        monitor = run_command(stage, "run_monitor", crash_at=[point])
        monitor.wait_for_accident()
        wait_until(lambda: monitor.returncode is not None, 10, "the end of the monitor")  # noqa: B023
    last = run_command(stage, "run_monitor")
    last.wait_for(lambda: Replay.objects.get(pk=replay.pk).state == Replay.State.COMPLETED, 60)
    last.sigkill()
    replay.refresh_from_db()
    assert (replay.sent, replay.handled, replay.skipped) == (COUNT, COUNT, 0)
    assert starts_of_replays(stage) == stage.numbers()
    # The monitor has indexed what other tests left in Kafka, too.
    mine = DeadLetter.objects.filter(topic=stage.topic)
    assert set(mine.values_list("status", flat=True)) == {LetterStatus.RESOLVED}
    assert ErrorGroupPlace.objects.get(topic=stage.topic).resolved == COUNT


@pytest.mark.slow
def test_a_sender_that_stood_still_does_no_harm_when_it_goes_on(
    open_stage: Callable[..., Stage], run_command: Callable[..., Worker], engine: Engine
) -> None:
    stage = failed_stage(open_stage, 100)
    replay = planned(stage)
    operations.run(replay.pk, "ada", now(), rate=200)
    frozen = run_command(
        stage, "replay", "--follow", str(replay.pk), freeze_at=["bus.kafka.producer:RecordProducer.send:after:30"]
    )
    frozen.wait_for_accident()
    drive(engine, replay)
    os.kill(frozen.pid, signal.SIGCONT)
    wait_until(lambda: frozen.returncode is not None, 20, "the end of the sender that stood still")
    replay.refresh_from_db()
    assert (replay.sent, replay.handled) == (100, 100)
    time.sleep(1)  # whatever it had in hand has arrived by now
    assert starts_of_replays(stage) == stage.numbers()


def test_events_of_a_key_are_replayed_in_the_order_in_which_they_failed(
    open_stage: Callable[..., Stage], engine: Engine
) -> None:
    stage = failed_stage(open_stage, 60, partitions=3)
    replay = planned(stage)
    operations.run(replay.pk, "ada", now())
    drive(engine, replay)
    records = records_of(stage.kafka.bootstrap, f"{stage.group}.replay", 60)
    order: dict[bytes | None, list[int]] = {}
    by_id = {each.event_id: each.number for each in stage.sent}
    for record in records:
        event_id = dict(record.headers() or [])["event-id"]
        order.setdefault(record.key(), []).append(by_id[bytes(event_id or b"").decode()])  # type: ignore[arg-type]
    assert sorted(number for numbers in order.values() for number in numbers) == stage.numbers()
    assert all(numbers == sorted(numbers) for numbers in order.values())


def test_a_canary_that_fails_again_stops_the_rest(open_stage: Callable[..., Stage], engine: Engine) -> None:
    stage = failed_stage(open_stage, 30, "permanent")
    replay = planned(stage)
    operations.run(replay.pk, "ada", now(), canary=5, stop_at_percent=20)
    drive(engine, replay, Replay.State.STOPPED_BY_CANARY, topics=[stage.topic])
    assert replay.sent == 5
    index_letters(stage.topic)
    assert DeadLetter.objects.filter(generation=0, status=LetterStatus.OPEN).count() == 25
    assert operations.resume(replay.pk, "ada", now()).state == Replay.State.RUNNING
    drive(engine, replay, topics=[stage.topic])
    assert (replay.sent, replay.handled, replay.failed_again_same) == (30, 0, 30)
    assert DeadLetter.objects.filter(generation=0, status=LetterStatus.SUPERSEDED).count() == 30
    assert DeadLetter.objects.filter(generation=1, status=LetterStatus.OPEN, previous__generation=0).count() == 30


def test_a_canary_that_passes_lets_the_rest_follow(open_stage: Callable[..., Stage], engine: Engine) -> None:
    stage = failed_stage(open_stage, 30)
    replay = planned(stage)
    operations.run(replay.pk, "ada", now(), canary=5)
    assert [engine.sender.step() for _ in range(3)] == [5, 0, 0]
    replay.refresh_from_db()
    assert (replay.state, replay.sent) == (Replay.State.WAITING_FOR_CANARY, 5)
    drive(engine, replay)
    assert (replay.sent, replay.handled) == (30, 30)


def test_of_two_replays_of_one_dead_letter_one_wins(open_stage: Callable[..., Stage], engine: Engine) -> None:
    stage = failed_stage(open_stage, 3)
    replay = planned(stage)
    first = DeadLetter.objects.order_by("pk")[0]
    alone = operations.replay_one(first.pk, "grace", now())
    with pytest.raises(NotPossibleError, match="by grace"):
        operations.replay_one(first.pk, "ada", now())
    operations.run(replay.pk, "ada", now())
    drive(engine, replay)
    drive(engine, alone)
    assert (replay.handled, replay.skipped, alone.handled) == (2, 1, 1)
    item = ReplayItem.objects.get(replay=replay, dead_letter=first)
    assert item.state == ReplayItem.State.SKIPPED
    assert "grace" in item.note
    assert starts_of_replays(stage) == stage.numbers()


def test_a_delayed_replay_is_undone_until_it_is_sent(open_stage: Callable[..., Stage], engine: Engine) -> None:
    stage = failed_stage(open_stage, 1)
    letter = DeadLetter.objects.get()
    at = now()
    replay = operations.replay_one(letter.pk, "ada", at, delay=10)
    assert engine.step() == 0
    assert operations.undo(letter.pk, "grace", now()).state == Replay.State.CANCELLED
    letter.refresh_from_db()
    assert (letter.status, letter.replayed_times) == (LetterStatus.OPEN, 0)
    with pytest.raises(NotPossibleError):
        operations.undo(letter.pk, "grace", now())
    replay = operations.replay_one(letter.pk, "ada", at - timedelta(seconds=11), delay=10)
    drive(engine, replay)
    with pytest.raises(NotPossibleError):
        operations.undo(letter.pk, "grace", now())
    assert starts_of_replays(stage) == stage.numbers()


def test_cancelled_events_stay_where_they_are(open_stage: Callable[..., Stage], engine: Engine) -> None:
    stage = failed_stage(open_stage, 40)
    replay = planned(stage)
    operations.run(replay.pk, "ada", now(), rate=10)
    wait_until(lambda: engine.step() >= 0 and Replay.objects.get(pk=replay.pk).sent >= 3, 20, "the first events")
    operations.pause(replay.pk, "ada", now())
    engine.step()
    sent = Replay.objects.get(pk=replay.pk).sent
    operations.cancel(replay.pk, "ada", now())
    wait_until(lambda: engine.step() >= 0 and Replay.objects.get(pk=replay.pk).handled == sent, 20, "their outcome")
    replay.refresh_from_db()
    assert (replay.state, replay.sent + replay.skipped) == (Replay.State.CANCELLED, 40)
    assert DeadLetter.objects.filter(status=LetterStatus.OPEN).count() == 40 - sent
    assert len(starts_of_replays(stage)) == sent
