"""Outcomes of many that nobody remembers: all of them are settled in one round, not a page in half a minute."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from django.db.models import F

from bus.deadletterindex.pages import LetterFilter
from bus.models import DeadLetter, LetterStatus, Replay, ReplayItem
from bus.replay import operations, outcomes
from bus.replay.forgotten import Place
from bus.replay.outcomes import PAGE, Outcomes
from bus.replay.plan import Choice, plan
from tests.indexed import NOW, index, record

pytestmark = pytest.mark.django_db

COUNT = 2 * PAGE + 5


class Kafka:
    """The group has committed past everything, or nothing, and the index has read all there is."""

    def __init__(self, *, is_passed: bool = True) -> None:
        self.asked = 0
        self._is_passed = is_passed

    def read(self, places: Iterable[Place]) -> tuple[set[Place], set[Place]]:
        self.asked += 1
        return set(places) if self._is_passed else set(), set()

    def is_indexed(self, dlq_topic: str) -> bool:
        return True


def test_more_than_a_page_of_what_the_ledger_has_forgotten_is_settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    index([record(number) for number in range(COUNT)])
    replay = plan(Choice(LetterFilter()), "ada", NOW, None).replay
    operations.run(replay.pk, "ada", NOW)
    ReplayItem.objects.update(state=ReplayItem.State.SENT, sent_at=NOW, partition=0, offset=F("sequence"))
    DeadLetter.objects.update(status=LetterStatus.REPLAYING, replay=replay)
    Replay.objects.update(sent=COUNT)
    monkeypatch.setattr(outcomes, "group_statuses", lambda ledger, pairs: [None] * len(pairs))
    kafka, seconds = Kafka(), 1000.0
    mine = Outcomes(cast(Any, None), cast(Any, kafka), clock=lambda: seconds, now=lambda: NOW + timedelta(hours=2))

    assert mine.step() == COUNT

    replay.refresh_from_db()
    assert (replay.state, replay.handled) == (Replay.State.COMPLETED, COUNT)
    assert kafka.asked == 3


def test_a_dead_letter_of_an_earlier_epoch_is_no_outcome_of_a_new_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event was replayed before, failed, and was discarded; its group handles events again, and it fails anew."""
    before = NOW - timedelta(days=1)
    index([record(0), replace(record(0, generation=1), its_offset=1)], before)
    DeadLetter.objects.update(status=LetterStatus.DISCARDED)
    index([replace(record(0, epoch=1), its_offset=2)], NOW)
    replay = plan(Choice(LetterFilter()), "ada", NOW, None).replay
    operations.run(replay.pk, "ada", NOW)
    ReplayItem.objects.update(state=ReplayItem.State.SENT, sent_at=NOW, partition=0, offset=0)
    monkeypatch.setattr(outcomes, "group_statuses", lambda ledger, pairs: [None] * len(pairs))
    kafka = Kafka(is_passed=False)
    mine = Outcomes(cast(Any, None), cast(Any, kafka), clock=lambda: 1000.0, now=lambda: NOW + timedelta(hours=2))

    assert mine.step() == 0

    assert kafka.asked == 1
    index([replace(record(0, generation=1, epoch=1, last_attempt_at_ms=int(NOW.timestamp() * 1000)), its_offset=3)])
    monkeypatch.setattr(outcomes, "_SILENT_EVERY", 0.0)
    assert mine.step() == 1
