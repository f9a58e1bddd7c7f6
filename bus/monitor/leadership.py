"""Who leads: a lease in the database, because what the leader does is there, too.

It keeps two from doing the same work, and no more than that: a process that was stalled may act for a moment after its
lease has lapsed. Everything that tasks write is conditional on what they have read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.db.models import F, Q

from bus.models import Lease


class Leadership:
    """The right to lead, of one process. `owner` is a name that no other process has."""

    def __init__(
        self,
        name: str,
        owner: str,
        seconds: float,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.owner = owner
        self.seconds = seconds
        self._now = now
        self._clock = clock
        self._valid_until: float | None = None

    @property
    def is_held(self) -> bool:
        """Whether this process leads, as far as it knows without asking."""
        return self._valid_until is not None and self._clock() < self._valid_until

    def hold(self) -> bool:
        """Renew the lease, or take it when nobody has it; returns whether this process leads.

        Raises Django's DatabaseError; what is held stays so until it lapses.
        """
        # As of before asking: the answer may be long in coming.
        asked_at, now = self._clock(), self._now()
        expires_at = now + timedelta(seconds=self.seconds)
        mine = Lease.objects.filter(name=self.name, owner=self.owner)
        if not mine.filter(expires_at__gte=now).update(expires_at=expires_at):
            Lease.objects.get_or_create(name=self.name, defaults={"expires_at": now - timedelta(seconds=1)})
            is_free = Q(expires_at__lt=now) | Q(owner="")
            taken = Lease.objects.filter(is_free, name=self.name).update(
                owner=self.owner, number=F("number") + 1, expires_at=expires_at
            )
            if not taken:
                self._valid_until = None
                return False
        self._valid_until = asked_at + self.seconds
        return self.is_held

    def give_back(self) -> None:
        """Let another process lead at once."""
        self._valid_until = None
        Lease.objects.filter(name=self.name, owner=self.owner).update(owner="")
