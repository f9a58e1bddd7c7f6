"""How many events may be sent now. Pure: time comes in."""

from __future__ import annotations

from collections import deque

# What a short halt kept back is made up for; after a longer one no burst follows.
_MOST_SECONDS_BEHIND = 1.0
# Sending one by one would cost a transaction each.
_PORTION_SECONDS = 0.1
_SPEED_SECONDS = 10.0


class Pace:
    """Allows `rate` events per second; None: as many as are wanted."""

    def __init__(self, rate: float | None, now: float) -> None:
        self.rate = rate
        self._credit = 1.0
        self._at = now
        self._sent: deque[tuple[float, int]] = deque()
        self._since = now

    def change(self, rate: float | None, now: float) -> None:
        """Another rate from now on; what was sent under the old one is no debt."""
        self.rate = rate
        self._credit = 1.0
        self._at = now

    def due(self, most: int, now: float) -> int:
        """How many may go now, `most` at most; 0 while a portion of them isn't together yet."""
        if self.rate is None:
            return most
        ceiling = max(1.0, self.rate * _MOST_SECONDS_BEHIND)
        self._credit = min(ceiling, self._credit + (now - self._at) * self.rate)
        self._at = now
        portion = min(most, max(1.0, self.rate * _PORTION_SECONDS))
        return min(most, int(self._credit)) if self._credit >= portion else 0

    def went(self, count: int, now: float) -> None:
        """So many were sent."""
        self._credit -= count
        self._sent.append((now, count))

    def speed(self, now: float) -> float:
        """Events per second, over the last ten."""
        while self._sent and self._sent[0][0] < now - _SPEED_SECONDS:
            self._since = self._sent.popleft()[0]
        return sum(count for _, count in self._sent) / max(now - self._since, 0.001)
