"""What an onlooker wants to know of each partition in hand: how old its oldest unsettled event is, and why it waits.

Done once for each sign of life, not for each event, and on the dispatcher's own thread: so it needs no locks, and
nothing that is done for every event has to take note of anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from bus.consumer.claims import Claims
from bus.consumer.conclusion import Conclusion
from bus.consumer.exchange import Exchange
from bus.consumer.pool import Job
from bus.consumer.progress import Progress
from bus.consumer.work import Work
from bus.kafka.consumer import Partition
from bus.presence import Wait, Why

log = logging.getLogger("bus.consumer")

SLOW_SECONDS: Final = 2.0
"""A handler that runs for longer is told as the reason why its partition waits."""
_LONGEST_KEY: Final = 100
_LONGEST_ID: Final = 128
_LONGEST_DETAIL: Final = 300


class Sight(NamedTuple):
    """One partition: when its oldest unsettled event was written (ms since 1970), and why it waits."""

    oldest_ms: int | None
    wait: Wait | None


class Surveyor:
    """Looks at what one dispatcher has in hand. Used on its thread."""

    def __init__(
        self,
        progress: Progress,
        claims: Claims,
        conclusion: Conclusion,
        exchange: Exchange,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._progress = progress
        self._claims = claims
        self._conclusion = conclusion
        self._exchange = exchange
        self._clock = clock
        self._wall_clock = wall_clock

    def look(self, jobs: Iterable[Job]) -> dict[Partition, Sight]:
        """All partitions that have unsettled events. `jobs` are those that handlers work on. Raises nothing."""
        try:
            return self._look(jobs)
        except Exception:
            # Only for showing, and on the thread that settles events: it mustn't end it.
            log.exception("partitions_not_described")
            return {}

    def _look(self, jobs: Iterable[Job]) -> dict[Partition, Sight]:
        oldest = {partition: offset for partition, offset in self._progress.oldest().items() if offset is not None}
        if not oldest:
            return {}
        found: dict[Partition, Work] = {}
        for work in self._out_of_turn(jobs):
            if oldest.get(work.source) == work.offset:
                found[work.source] = work
        waits = self._waits(jobs, found)
        sights = {}
        for partition, offset in oldest.items():
            its_oldest = found.get(partition) or self._queued(partition, offset)
            written = its_oldest.record.timestamp()[1] if its_oldest else -1
            sights[partition] = Sight(written if written > 0 else None, waits.get(partition))
        return sights

    def _out_of_turn(self, jobs: Iterable[Job]) -> Iterable[Work]:
        """Unsettled events that don't wait for their turn in a lane."""
        yield from (work for work, _ in self._claims.lanes.parked_works())
        yield from self._claims.claimed()
        yield from (work for job in (*jobs, *self._conclusion.dying) for work in job.works)
        yield from self._exchange.unanswered()

    def _queued(self, partition: Partition, offset: int) -> Work | None:
        return next((each for each in self._claims.lanes.queued_works(partition) if each.offset == offset), None)

    def _waits(self, jobs: Iterable[Job], oldest: Mapping[Partition, Work]) -> dict[Partition, Wait]:
        """Why partitions wait: because of their oldest event if that waits, else because of another one."""
        if self._exchange.is_away:
            redis = Wait(Why.REDIS, "Redis can't be reached")
            return dict.fromkeys(self._progress.oldest(), redis)
        first: dict[Partition, tuple[tuple[bool, int, float], _Hold]] = {}
        for hold in (*self._unwritten(), *self._at_work(jobs), *self._parked()):
            source = hold.work.source
            rank = oldest.get(source) is not hold.work, _RANK[hold.why], hold.at
            if source not in first or rank < first[source][0]:
                first[source] = rank, hold
        return {partition: self._wait(hold) for partition, (_, hold) in first.items()}

    def _unwritten(self) -> Iterator[_Hold]:
        for work, at, error in self._conclusion.unwritten():
            yield _Hold(work, Why.DEAD_LETTER, at, type(error).__name__, str(error))

    def _at_work(self, jobs: Iterable[Job]) -> Iterator[_Hold]:
        latest = self._clock() - SLOW_SECONDS
        for job in jobs:
            work = job.current
            if work is not None and (job.reported_stuck or job.began <= latest):
                yield _Hold(work, Why.STUCK if job.reported_stuck else Why.SLOW, job.began)

    def _parked(self) -> Iterator[_Hold]:
        for work, until in self._claims.lanes.parked_works():
            if work.trouble is None:
                yield _Hold(work, Why.ELSEWHERE, until)
            else:
                error, is_counted = work.trouble
                yield _Hold(work, Why.RETRY if is_counted else Why.OUTAGE, until, error)

    def _wait(self, hold: _Hold) -> Wait:
        work, key = hold.work, hold.work.record.key()
        at_ms = int((self._wall_clock() + hold.at - self._clock()) * 1000)
        is_at_work = hold.why in (Why.STUCK, Why.SLOW)
        return Wait(
            hold.why,
            self._detail(hold)[:_LONGEST_DETAIL],
            until_ms=None if is_at_work else at_ms,
            since_ms=at_ms if is_at_work else None,
            event_id=work.event_id[:_LONGEST_ID],
            key="" if key is None else key.decode(errors="replace")[:_LONGEST_KEY],
            error=hold.error[:_LONGEST_KEY],
        )

    def _detail(self, hold: _Hold) -> str:
        match hold.why:
            case Why.DEAD_LETTER:
                return f"a dead letter can't be written: {hold.message}"
            case Why.RETRY:
                return f"attempt {hold.work.attempts + 1} failed: {hold.error}"
            case Why.OUTAGE:
                return f"the handler met an outage: {hold.error}"
            case Why.ELSEWHERE:
                return "another worker had the event last"
        handler = hold.work.handler.name if hold.work.handler else "a handler"
        return f"{handler} has been at work for {self._clock() - hold.at:.0f} s"


class _Hold(NamedTuple):
    """An event that doesn't go on: until `at` of the clock, or since then if a handler works on it."""

    work: Work
    why: Why
    at: float
    error: str = ""
    message: str = ""


_RANK: Final = {why: rank for rank, why in enumerate(Why)}
