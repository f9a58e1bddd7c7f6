"""The monitor's part in replays: it sends what runs, and tells what became of it."""

from __future__ import annotations

from bus import conf
from bus.replay.engine import Engine

_IDLE_SECONDS = 0.25
_BUSY_SECONDS = 0.02
_FOLLOW_SECONDS, _LONGEST_FOLLOW_SECONDS = 0.25, 2.0


class Sending:
    """Sends replays, batch by batch."""

    name = "send-replays"

    def __init__(self, settings: conf.BusSettings) -> None:
        self._settings = settings
        self._engine: Engine | None = None

    def step(self) -> float:
        if self._engine is None:
            self._engine = Engine(self._settings)
        sender = self._engine.sender
        if sender.step():
            return 0.0
        return _BUSY_SECONDS if sender.is_at_work else _IDLE_SECONDS

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None


class Following:
    """Looks what became of what was sent, and judges canaries."""

    name = "follow-replays"

    def __init__(self, settings: conf.BusSettings) -> None:
        self._settings = settings
        self._engine: Engine | None = None
        self._rest = _FOLLOW_SECONDS

    def step(self) -> float:
        if self._engine is None:
            self._engine = Engine(self._settings)
        # A hundred thousand may wait for a worker that starts tomorrow.
        settled = self._engine.outcomes.step()
        self._rest = _FOLLOW_SECONDS if settled else min(self._rest * 2, _LONGEST_FOLLOW_SECONDS)
        return self._rest

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None
