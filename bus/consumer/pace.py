"""How much to claim at a time: about what the handlers will run within a fifth of a second.

A claim is a promise to run the event soon. Too many and a dead worker leaves many suspects behind, and other workers
wait for events that a slow one only holds; too few and fast handlers wait for round trips.
"""

from __future__ import annotations

_HORIZON_SECONDS = 0.2
_MEASURED_EVERY_SECONDS = 0.05
_LONGEST_RUN = 64


class Pace:
    """Follows the rate at which events are handled."""

    def __init__(self, concurrency: int, claim_batch: int) -> None:
        self._least = 2 * concurrency
        self._claim_batch = claim_batch
        self._since = 0.0
        self._handled = 0
        self._busy_ms = 0
        self._ms_per_event = _HORIZON_SECONDS * 1000
        self.rate = 0.0
        """Events handled per second, lately."""

    def handled(self, events: int, busy_ms: int, now: float) -> None:
        """So many events were handled since the last call; their handlers took so long, all together."""
        self._handled += events
        self._busy_ms += busy_ms
        elapsed = now - self._since
        if elapsed >= _MEASURED_EVERY_SECONDS and self._handled:
            measured = self._handled / elapsed
            # Up at once, down slowly: a pause for lack of events says nothing about the handlers.
            self.rate = measured if measured > self.rate else 0.7 * self.rate + 0.3 * measured
            self._ms_per_event += 0.5 * (self._busy_ms / self._handled - self._ms_per_event)
            self._since, self._handled, self._busy_ms = now, 0, 0

    def room(self, out: int, jobs: int) -> int:
        """How many events may be claimed now, when `out` in so many jobs are claimed and not done.

        As many jobs are out as keep the handlers busy, however much waits in one of them behind a slow event.
        """
        target = max(self._least, min(int(self.rate * _HORIZON_SECONDS), 2 * self._claim_batch))
        return max(0, min(max(target - out, self._least - jobs), self._claim_batch))

    @property
    def longest_run(self) -> int:
        """How many events of one key may be claimed at once: they are handled one after the other."""
        return max(1, min(int(_HORIZON_SECONDS * 1000 / max(self._ms_per_event, 1.0)), _LONGEST_RUN))
