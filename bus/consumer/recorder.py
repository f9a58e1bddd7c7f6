"""What a group's worker tells the activity stream: each step of an event, as it happens.

All of it is for showing, and on the path of every event: steps are counted, and described only while the stream wants
descriptions. Nothing here raises.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from bus import activity, deadletters
from bus.activity import ActivityLog, Transition
from bus.activity.counts import UNTIMED
from bus.activity.entries import MAX_ERROR, MAX_KEY
from bus.activity.sample import RANKS
from bus.consumer.burial import Dead, attempts_of
from bus.consumer.executor import Outcome
from bus.consumer.work import Work
from bus.envelope import Metadata
from bus.kafka.consumer import headers_of
from bus.ledger import Verdict

log = logging.getLogger("bus.consumer")

# As plain text, which is faster to look up than the members.
_PROCESSING = activity.Outcome.PROCESSING.value
_PROCESSED = activity.Outcome.PROCESSED.value
_SKIPPED = activity.Outcome.SKIPPED.value
_RETRYING = activity.Outcome.RETRYING.value
_FAILED = activity.Outcome.FAILED.value
_DUPLICATE = activity.Outcome.DUPLICATE.value
_RANK_OF_PROCESSING, _RANK_OF_PROCESSED = RANKS[_PROCESSING], RANKS[_PROCESSED]
_MOST_TOPICS = 1000
_NO_METADATA = Metadata("", "", "")


class _Tallies(dict[str, list[int]]):
    """The tallies of one outcome by topic, at hand for what happens to every event."""

    def __init__(self, log: ActivityLog, group: str, outcome: str) -> None:
        super().__init__()
        self._kind = log, group, outcome

    def __missing__(self, topic: str) -> list[int]:
        log, group, outcome = self._kind
        tally = log.tally(topic, group, outcome)
        if len(self) < _MOST_TOPICS:
            self[topic] = tally
        return tally


class Recorder:
    """Tells what becomes of the events of one group in one worker. `wall_clock` is in seconds since 1970."""

    def __init__(self, group: str, worker: str, log: ActivityLog, wall_clock: Callable[[], float] = time.time) -> None:
        self._group = group
        self._worker = worker
        self._log = log
        self._wall_clock = wall_clock
        self._room = log.room
        self._begun = _Tallies(log, group, _PROCESSING)
        self._handled = _Tallies(log, group, _PROCESSED)

    def begins(self, work: Work, at_ms: int) -> None:
        """An attempt is handed to its handler; called on handler threads."""
        self._begun[work.topic].append(UNTIMED)
        if self._room[_RANK_OF_PROCESSING] > 0:
            self._keep(work, _PROCESSING, at_ms, attempt=work.answer.attempts + 1)

    def is_handled(self, work: Work, outcome: Outcome) -> None:
        """The handler did what it does."""
        attempt = outcome.attempt
        assert attempt is not None
        took_ms = attempt.duration_ms
        self._handled[work.topic].append(took_ms)
        if self._room[_RANK_OF_PROCESSED] > 0:
            at_ms = attempt.at_ms + took_ms
            self._keep(work, _PROCESSED, at_ms, attempt=work.answer.attempts + 1, duration_ms=took_ms)

    def is_skipped(self, work: Work, outcome: Outcome) -> None:
        """The handler didn't want it."""
        attempt = outcome.attempt
        assert attempt is not None
        took_ms = attempt.duration_ms
        if self._log.count(work.topic, self._group, _SKIPPED) > 0:
            at_ms = attempt.at_ms + took_ms
            self._keep(work, _SKIPPED, at_ms, attempt=work.answer.attempts + 1, duration_ms=took_ms)

    def retries(self, work: Work, outcome: Outcome) -> None:
        """An attempt failed, and the next one is due in a while."""
        attempt = outcome.attempt
        assert attempt is not None
        took_ms = attempt.duration_ms
        if self._log.count(work.topic, self._group, _RETRYING, ms=took_ms) > 0:
            at_ms = self._now_ms()
            self._keep(
                work,
                _RETRYING,
                at_ms,
                attempt=work.answer.attempts + 1,
                duration_ms=took_ms,
                error=attempt.error,
                next_retry_at_ms=at_ms + int(outcome.seconds * 1000),
            )

    def is_dead(self, dead: Dead) -> None:
        """Its dead letter is acknowledged."""
        work, attempt, reason = dead.work, dead.outcome.attempt, dead.outcome.reason
        assert attempt is not None
        ms = attempt.duration_ms if dead.outcome.ran else UNTIMED
        if self._log.count(work.topic, self._group, _FAILED, ms=ms) > 0:
            self._keep(
                work,
                _FAILED,
                self._now_ms(),
                attempt=attempts_of(dead),
                duration_ms=attempt.duration_ms,
                error=attempt.error,
                reason=reason.value if reason is not None else None,
            )

    def is_copy(self, work: Work) -> None:
        """It was delivered though it is done with, and is dropped."""
        if work.was_begun:
            return  # no second copy: another worker has taken it over meanwhile, and told of it
        if self._log.count(work.topic, self._group, _DUPLICATE) > 0:
            first = _FAILED if work.answer.verdict is Verdict.FAILED else _PROCESSED
            self._keep(work, _DUPLICATE, self._now_ms(), reason=first)

    def _keep(self, work: Work, outcome: str, at_ms: int, **more: Any) -> None:
        try:
            self._log.keep(self._transition(work, outcome, at_ms, more))
        except Exception:
            # Only for showing, and on the thread that settles events: it mustn't end it.
            log.exception("activity_not_described", extra={"event_id": work.event_id, "group": self._group})

    def _transition(self, work: Work, outcome: str, at_ms: int, more: dict[str, Any]) -> Transition:
        metadata = work.event.metadata if work.event is not None else _NO_METADATA
        partition, offset, key = work.source[1], work.offset, work.record.key()
        if work.generation:
            # A replay: where the event is, is where it was at first.
            origin = deadletters.origin_of(headers_of(work.record))
            if origin is not None:
                partition, offset = origin.partition, origin.offset
        if error := more.get("error"):
            more["error"] = error[:MAX_ERROR]
        return Transition(
            at_ms,
            outcome,
            work.event_id,
            work.topic,
            self._group,
            partition,
            offset,
            key.decode(errors="replace")[:MAX_KEY] if key is not None else None,
            metadata.priority,
            metadata.source,
            metadata.user_id,
            metadata.correlation_id,
            worker=self._worker,
            generation=work.generation,
            **more,
        )

    def _now_ms(self) -> int:
        return int(self._wall_clock() * 1000)
