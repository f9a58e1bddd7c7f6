"""How much to claim at a time: about what the handlers will run within a fifth of a second.

A claim is a promise to run the event soon. Too many and a dead worker leaves many suspects behind, and other workers
wait for events that a slow one only holds; too few and fast handlers wait for round trips.
"""

from __future__ import annotations

_HORIZON_SECONDS = 0.2
_MEASURED_EVERY_SECONDS = 0.05


class Pace:
    """Follows the rate at which events are handled."""

    def __init__(self, concurrency: int, claim_batch: int) -> None:
        self._least = 2 * concurrency
        self._claim_batch = claim_batch
        self._since = 0.0
        self._handled = 0
        self.rate = 0.0
        """Events handled per second, lately."""

    def handled(self, events: int, now: float) -> None:
        """So many events were handled since the last call."""
        self._handled += events
        elapsed = now - self._since
        if elapsed >= _MEASURED_EVERY_SECONDS:
            measured = self._handled / elapsed
            # Up at once, down slowly: a pause for lack of events says nothing about the handlers.
            self.rate = measured if measured > self.rate else 0.7 * self.rate + 0.3 * measured
            self._since, self._handled = now, 0

    def room(self, out: int) -> int:
        """How many events may be claimed now, when `out` are claimed and not done."""
        target = max(self._least, min(int(self.rate * _HORIZON_SECONDS), 2 * self._claim_batch))
        return max(0, min(target - out, self._claim_batch))
