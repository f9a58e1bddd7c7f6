"""Replays end to end: real workers, a real sender, the index and the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from bus.models import AuditEntry, LetterStatus, Replay
from bus.replay import operations
from bus.replay.engine import Engine
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
