"""Outcomes of many that nobody remembers: all of them are settled in one round, not a page in half a minute."""

from __future__ import annotations

from collections.abc import Iterable
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
    """The group has committed past everything, and the index has read all there is."""

    def __init__(self) -> None:
        self.asked = 0

    def read(self, places: Iterable[Place]) -> tuple[set[Place], set[Place]]:
        self.asked += 1
        return set(places), set()

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
