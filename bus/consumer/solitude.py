"""Running suspects alone: events that were in the hands of a worker that died.

    waits ──the process is ours──▶ marked in the ledger ──▶ runs alone ──▶ done

Only a death while alone counts against an event. So the mark is written before the handler starts, and nothing else
runs in the process until it is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from bus.consumer.pool import Gate, Job


class Solitude:
    """The suspects of one dispatcher. Used by one thread."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._waiting: deque[Job] = deque()
        self._marking: Job | None = None
        self._alone: Job | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether nothing else may be started."""
        return bool(self._waiting or self._marking or self._alone)

    @property
    def waits(self) -> bool:
        """Whether the process has yet to fall silent for a suspect."""
        return bool(self._waiting) and self._marking is None and self._alone is None

    def add(self, job: Job) -> None:
        """Have a job of one event run alone."""
        self._waiting.append(job)

    def next_to_mark(self) -> Job | None:
        """The suspect to be marked now: when none runs and the process is ours."""
        if not self.waits or not self._gate.try_alone(self):
            return None
        self._marking = self._waiting.popleft()
        return self._marking

    def marked(self) -> Job | None:
        """The suspect whose mark is written by now, if one was to be; it is for the caller to start it, or `leave`."""
        job, self._marking = self._marking, None
        if job is not None:
            # Other answers come in while a suspect runs, and it stays alone.
            self._alone = job
        return job

    def leave(self, job: Job) -> None:
        """The job is done, or not to be run; the others go on when no suspect is left."""
        if job is self._alone:
            self._alone = None
            self._end()

    def withdraw(self, wanted: Callable[[Job], bool]) -> list[Job]:
        """Take out what wasn't started. The one that is being marked is told to stop, for its mark must be undone."""
        if self._marking is not None and wanted(self._marking):
            self._marking.stop = True
        gone = [job for job in self._waiting if wanted(job)]
        self._waiting = deque(job for job in self._waiting if not wanted(job))
        self._end()
        return gone

    def _end(self) -> None:
        if not self.is_wanted:
            self._gate.end_alone(self)
