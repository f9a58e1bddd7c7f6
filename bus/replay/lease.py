"""The right to send the events of one replay: one process has it at a time, and says so in all that it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Q

from bus.errors import BusError
from bus.models import Replay
from bus.replay.pace import Pace

_FEWEST, _MOST = 250, 4000
_SHORT_SECONDS, _LONG_SECONDS = 1.0, 3.0

Ends = dict[str, dict[int, int]]
"""Per topic and partition the offset of the next record."""


class LeaseLostError(BusError):
    """Another process sends this replay by now: what this one still has in hand is the other's to see to."""


@dataclass(slots=True)
class Holding:
    """A lease as its owner knows it. `valid_until` is on the owner's own clock, which a halt of it doesn't stop."""

    replay_id: int
    owner: str
    number: int
    seconds: float
    valid_until: float
    pace: Pace
    most: int = 1000
    """How many are taken at once, at most: changed with how long that takes."""
    ends: Ends = field(default_factory=dict)
    """Where topics end at least: as asked once, moved on with every answer since."""

    def learn(self, count: int, seconds: float) -> None:
        """A batch of so many took so long. Large ones cost less; pausing waits for the one that is taken."""
        if seconds > _LONG_SECONDS:
            self.most = max(_FEWEST, self.most // 2)
        elif count == self.most and seconds < _SHORT_SECONDS:
            self.most = min(_MOST, self.most * 2)

    def check(self, clock: Callable[[], float]) -> None:
        """Raise LeaseLostError when somebody else may have it."""
        if clock() >= self.valid_until:
            raise LeaseLostError(f"replay {self.replay_id}: the lease ran out while this process stood still")

    def write(self, clock: Callable[[], float], now: datetime, *also: Q, **fields: Any) -> bool:
        """Update the replay and renew the lease; False when a condition of `also` isn't so (any more).

        Raises LeaseLostError when another process has it.
        """
        began = clock()
        mine = Replay.objects.filter(pk=self.replay_id, lease_owner=self.owner, lease_number=self.number)
        expires = now + timedelta(seconds=self.seconds)
        if mine.filter(*also).update(lease_expires_at=expires, **fields):
            self.valid_until = began + self.seconds
            return True
        if not mine.exists():
            raise LeaseLostError(f"replay {self.replay_id} is sent by another process")
        return False

    def give_back(self) -> None:
        """Let anybody have it at once."""
        Replay.objects.filter(pk=self.replay_id, lease_owner=self.owner, lease_number=self.number).update(
            lease_owner="", lease_expires_at=None
        )


def acquire(
    replay: Replay, owner: str, seconds: float, clock: Callable[[], float], now: datetime, pace: Pace
) -> Holding | None:
    """Take the lease when nobody has it, or whoever had it let it lapse; None when somebody has it."""
    began = clock()
    is_free = Q(lease_expires_at=None) | Q(lease_expires_at__lte=now) | Q(lease_owner=owner)
    # The number that was read is part of the condition: of two that find it free, one gets it.
    taken = Replay.objects.filter(is_free, pk=replay.pk, lease_number=replay.lease_number).update(
        lease_owner=owner, lease_number=F("lease_number") + 1, lease_expires_at=now + timedelta(seconds=seconds)
    )
    if not taken:
        return None
    return Holding(replay.pk, owner, replay.lease_number + 1, seconds, began + seconds, pace)
