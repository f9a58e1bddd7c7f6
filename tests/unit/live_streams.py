"""An activity stream without Redis."""

from __future__ import annotations

import threading
from typing import Any

from bus.activity import Activity, Transition
from bus.errors import LedgerUnavailableError


def transition(event_id: str = "event", **fields: Any) -> Transition:
    """Something that happened."""
    given = {"at_ms": 1, "outcome": "processed", "topic": "user.updated", "group": "email-service-group", **fields}
    return Transition(event_id=event_id, **given)


class FakeStream:
    """As `bus.activity.ActivityStream`: entries after an id, and nothing while it is away."""

    def __init__(self) -> None:
        self.activities: list[Activity] = []
        self.is_away = False
        self.reads = 0
        self._something = threading.Condition()

    def append(self, *transitions: Transition, skipped: int = 0) -> None:
        with self._something:
            number = len(self.activities) + 1
            self.activities.append(Activity(f"{number}-0", "worker", number, [], [], list(transitions), skipped))
            self._something.notify_all()

    def recent(self, count: int = 100) -> list[Activity]:
        self._look()
        return self.activities[-count:]

    def latest_id(self) -> str:
        self._look()
        return self.activities[-1].id if self.activities else "0-0"

    def read(self, after: str, count: int = 100, block_ms: int = 0) -> list[Activity]:
        self._look()
        at = int(after.partition("-")[0])
        with self._something:
            self._something.wait_for(lambda: len(self.activities) > at or self.is_away, min(block_ms, 20) / 1000)
        self._look()
        return self.activities[at : at + count]

    def _look(self) -> None:
        self.reads += 1
        if self.is_away:
            raise LedgerUnavailableError("Redis can't be used")
