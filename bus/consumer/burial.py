"""Writes dead letters, and keeps at it until the broker has acknowledged them.

An event whose dead letter isn't acknowledged isn't settled: its offset is never passed, its key waits, and when the
window is full its partition does.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from bus import deadletters
from bus.consumer.executor import Outcome, message_of
from bus.consumer.pool import Job
from bus.consumer.work import Work
from bus.deadletters import Failure, OutgoingRecord, Reason
from bus.errors import BusError
from bus.kafka.consumer import headers_of
from bus.kafka.producer import Delivered, OnDelivery

log = logging.getLogger("bus.consumer")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0


class Sender(Protocol):
    """What sends records: `bus.kafka.producer.RecordProducer`."""

    is_broken: bool
    """It met an error that it can't recover from, and sends nothing any more."""

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        event_id: str,
        on_delivery: OnDelivery,
        *,
        queue_timeout: float,
    ) -> None:
        """Queue a record; its outcome is reported on another thread."""


class Dead(NamedTuple):
    """An event that is to become a dead letter, and the job that it keeps from being over."""

    job: Job
    work: Work
    outcome: Outcome


class Burial:
    """The dead letters of one dispatcher that aren't acknowledged yet. Used by one thread, but for the callbacks."""

    def __init__(
        self, group: str, sender: Sender, max_bytes: int, *, clock: Callable[[], float], wake: Callable[[], None]
    ) -> None:
        self._group = group
        #: The group's epoch.
        self.epoch = 0
        self._sender = sender
        self._max_bytes = max_bytes
        self._clock = clock
        self._wake = wake
        self._answers: deque[tuple[Dead, Delivered | Exception]] = deque()
        self._again: list[tuple[float, Dead, Exception]] = []
        self._pauses: dict[int, float] = {}
        self._lost: list[Dead] = []

    def bury(self, dead: Dead) -> None:
        """Send the dead letter; `acknowledged` tells when it is safe."""
        record = self._record(dead)

        def answered(answer: Delivered | Exception) -> None:
            self._answers.append((dead, answer))
            self._wake()

        try:
            self._sender.send(
                record.topic, record.value, record.key, record.headers, dead.work.event_id, answered, queue_timeout=0
            )
        except BusError as error:
            answered(error)

    def acknowledged(self) -> list[Dead]:
        """Those that the broker has since the last call; those that failed are sent again after a while.

        Unless their partition was taken away: see `given_up`.
        """
        safe: list[Dead] = []
        while self._answers:
            dead, answer = self._answers.popleft()
            if isinstance(answer, Delivered):
                self._pauses.pop(id(dead.work), None)
                safe.append(dead)
            elif dead.job.run.dropped:
                self._lost.append(dead)
            else:
                self._put_off(dead, answer)
        now = self._clock()
        due = [dead for at, dead, _ in self._again if at <= now]
        self._again = [each for each in self._again if each[0] > now]
        for dead in due:
            self.bury(dead)
        return safe

    def next_try(self) -> float | None:
        """When a dead letter is due to be sent again."""
        return min((at for at, _, _ in self._again), default=None)

    def put_off(self) -> Iterator[tuple[Work, float, Exception]]:
        """Events whose dead letter is sent again later: when, and why it failed."""
        return ((dead.work, at, error) for at, dead, error in self._again)

    def give_up(self, source: tuple[str, int]) -> None:
        """The partition was taken away: forget what waits to be sent again."""
        self._lost += [dead for _, dead, _ in self._again if dead.work.source == source]
        self._again = [each for each in self._again if each[1].work.source != source]

    def given_up(self) -> list[Dead]:
        """Those that aren't sent again, because their partition's next owner sees to them."""
        lost, self._lost = self._lost, []
        for dead in lost:
            self._pauses.pop(id(dead.work), None)
        return lost

    def _put_off(self, dead: Dead, error: Exception) -> None:
        pause = self._pauses.get(id(dead.work), FIRST_PAUSE)
        self._pauses[id(dead.work)] = min(pause * 2, LONGEST_PAUSE)
        self._again.append((self._clock() + pause, dead, error))
        log.warning(
            "dead_letter_not_written trying again in %g s, its partition waits: %s",
            pause,
            error,
            extra={"event_id": dead.work.event_id, "topic": dead.work.topic, "group": self._group},
        )

    def _record(self, dead: Dead) -> OutgoingRecord:
        work, outcome = dead.work, dead.outcome
        record, error, attempt = work.record, outcome.error, outcome.attempt
        assert attempt is not None
        failures = [each.at_ms for each in work.answer.history if each.error is not None]
        failure = Failure(
            group=self._group,
            reason=outcome.reason or Reason.EXHAUSTED,
            attempts=attempts_of(dead),
            error_type=type(error).__name__,
            error_message=message_of(error),
            stack_trace=outcome.stack,
            first_failed_at_ms=failures[0] if failures else attempt.at_ms,
            last_attempt_at_ms=attempt.at_ms,
            generation=work.generation,
            epoch=self.epoch,
        )
        origin = deadletters.Origin(*work.source, work.offset, record.timestamp()[1])
        return deadletters.build(
            record.value(),
            record.key(),
            headers_of(record),
            origin,
            failure,
            max_bytes=self._max_bytes,
            event_id=work.event_id,
        )


def attempts_of(dead: Dead) -> int:
    """How often the event was tried; a crash counts, and reading it once does too."""
    if dead.outcome.reason is Reason.CRASH:
        return dead.work.attempts + dead.work.crashes
    return dead.work.attempts + 1
