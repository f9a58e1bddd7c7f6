"""Sender and outcomes on the Kafka and Redis of the settings: what the monitor, the API and the command run."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from bus import conf
from bus.errors import BusError, LedgerUnavailableError
from bus.kafka.admin import Admin
from bus.kafka.commits import committed
from bus.kafka.producer import RecordProducer
from bus.kafka.reader import RecordReader
from bus.ledger import Ledger
from bus.models import Replay, ReplayItem
from bus.presence import Presence, new_worker_name
from bus.replay.arrivals import Arrivals
from bus.replay.forgotten import Forgotten
from bus.replay.outcomes import Outcomes
from bus.replay.sender import Sender

_LINGER_MS: Final = 0.5
LIVE_SECONDS: Final = 30.0
"""A worker that was silent for so long is none to count on."""


class Engine:
    """Sends what is to be sent and looks what became of it. Used by one thread; several processes do no harm.

    Nothing is opened before it is needed.
    """

    def __init__(
        self,
        settings: conf.BusSettings | None = None,
        *,
        owner: str = "",
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        settings = settings or conf.current()
        self._clock = clock
        # Events of one key go one by one: each would wait for others to share its request.
        hurried = settings.model_copy(update={"linger_ms": min(settings.linger_ms, _LINGER_MS)})
        self.sender = Sender(
            owner or new_worker_name(),
            lambda: RecordProducer(hurried),
            lambda: _arrivals(settings),
            settings,
            clock=clock,
            now=now,
        )
        self._forgotten = Forgotten(
            lambda: _arrivals(settings), lambda group, partitions: committed(group, partitions, settings)
        )
        self.outcomes = Outcomes(Ledger(settings=settings), self._forgotten, clock=clock, now=now)

    def step(self) -> int:
        """Send a batch of each replay that runs, and settle what has an outcome; returns how many items moved.

        Raises LedgerUnavailableError when outcomes can't be asked, and Django's DatabaseError. Nothing is lost then.
        """
        return self.sender.step() + self.outcomes.step()

    def send_now(self, replay_id: int, seconds: float) -> bool:
        """Send a replay of one item at once; whether it has its answer within `seconds`.

        Otherwise it goes on in the monitor: it is stored.
        """
        deadline = self._clock() + seconds
        while True:
            self.sender.serve(replay_id)
            waiting = ReplayItem.objects.filter(replay=replay_id, state=ReplayItem.State.WAITING)
            if not waiting.exists():
                return True
            if self._clock() >= deadline or self.sender.rests(replay_id):
                return False
            time.sleep(0.02)

    def follow(self, replay_id: int) -> Replay:
        """One step of one replay, which another process may be at as well; returns it as it is then."""
        self.sender.serve_if_due(replay_id)
        try:
            self.outcomes.step(replay_id)
        except BusError:
            pass  # Redis is away: outcomes are told later
        return Replay.objects.get(pk=replay_id)

    def close(self) -> None:
        """Give back leases and connections."""
        self.sender.close()
        self._forgotten.close()


def live_groups(now: float | None = None) -> set[str] | None:
    """Groups with a live worker; None when Redis is away and nobody can say. `now` is in seconds since 1970."""
    try:
        entries = Presence(Ledger()).all()
    except LedgerUnavailableError:
        return None
    oldest = (time.time() if now is None else now) - LIVE_SECONDS
    return {group.group for entry in entries if entry.seen_at >= oldest for group in entry.groups}


def _arrivals(settings: conf.BusSettings) -> Arrivals:
    return Arrivals(RecordReader(settings, "replay"), Admin(settings).topics)
