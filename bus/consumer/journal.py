"""What a worker says: one line per state change that matters, with the same fields everywhere."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable

from bus.consumer.executor import Outcome, message_of
from bus.consumer.pool import Job
from bus.consumer.work import Work

log = logging.getLogger("bus.consumer")


class Journal:
    """Writes the lines of one group in one worker, and watches for handlers that don't come back."""

    def __init__(self, group: str, worker: str, stuck_seconds: float) -> None:
        self.group = group
        self.worker = worker
        self._stuck_seconds = stuck_seconds

    def retrying(self, work: Work, outcome: Outcome) -> None:
        """An attempt failed; there will be another."""
        self._line(logging.INFO, "event_retrying", work, delay=outcome.seconds, error=_error(outcome))

    def dead_lettered(self, work: Work, outcome: Outcome) -> None:
        """The dead letter is acknowledged."""
        reason = outcome.reason.value if outcome.reason else ""
        self._line(logging.WARNING, "event_dead_lettered", work, reason=reason, error=_error(outcome))

    def held_up(self, work: Work, outcome: Outcome) -> None:
        """An outage kept the handler from its work; no attempt is counted."""
        self._line(logging.WARNING, "event_held_up", work, delay=outcome.seconds, error=_error(outcome))

    def suspected(self, work: Work) -> None:
        """The event was in the hands of a worker that died; it runs alone."""
        self._line(logging.WARNING, "event_suspected", work, crashes=work.crashes)

    def taken_over(self, work: Work) -> None:
        """Another worker owns the event by now."""
        self._line(logging.WARNING, "event_taken_over", work)

    def watch(self, jobs: Iterable[Job], now: float) -> list[Job]:
        """Report handlers that run for too long, once each; returns those that are newly stuck."""
        stuck = []
        for job in jobs:
            work = job.current
            if work is None or job.reported_stuck:
                continue
            handler = work.handler
            limit = self._stuck_seconds
            if handler is not None and handler.timeout is not None and not job.is_async:
                limit = handler.timeout
            if now - job.began > limit:
                job.reported_stuck = True
                stuck.append(job)
                name = handler.name if handler else ""
                self._line(logging.WARNING, "handler_stuck", work, handler=name, seconds=round(now - job.began, 1))
        return stuck

    def came_back(self, job: Job, now: float) -> None:
        """A handler that was reported as stuck is done after all."""
        self._line(logging.WARNING, "handler_unstuck", job.works[0], seconds=round(now - job.began, 1))

    def broken(self, error: BaseException) -> None:
        """The dispatcher can't go on."""
        log.error(
            "worker_broken %s", "".join(traceback.format_exception(error)), extra={"group": self.group}, exc_info=False
        )

    def _line(self, level: int, action: str, work: Work, **more: object) -> None:
        if not log.isEnabledFor(level):
            return
        fields = {
            "group": self.group,
            "worker": self.worker,
            "topic": work.source[0],
            "partition": work.source[1],
            "offset": work.offset,
            "event_id": work.event_id,
            "attempt": work.attempts + 1,
            "generation": work.generation,
            **more,
        }
        log.log(level, action, extra=fields)


def _error(outcome: Outcome) -> str:
    return f"{type(outcome.error).__name__}: {message_of(outcome.error)}"[:300]
