"""What a job came to: settlements, retries, dead letters, and lanes that are free again.

A handled event is settled at once. A dead letter is settled when the broker has acknowledged it; until then its run
keeps the lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bus.consumer.burial import Burial, Dead, attempts_of
from bus.consumer.claims import Blocked, Claims
from bus.consumer.exchange import Exchange
from bus.consumer.executor import NOT_RUN, Outcome, Result
from bus.consumer.journal import Journal
from bus.consumer.pace import Pace
from bus.consumer.pool import Job
from bus.consumer.recorder import Recorder
from bus.consumer.work import Work
from bus.ledger import Status


class Conclusion:
    """Ends the jobs of one dispatcher. Used by one thread."""

    def __init__(
        self,
        claims: Claims,
        exchange: Exchange,
        burial: Burial,
        journal: Journal,
        pace: Pace,
        recorder: Recorder,
        clock: Callable[[], float],
    ) -> None:
        self._claims = claims
        self._exchange = exchange
        self._burial = burial
        self._journal = journal
        self._pace = pace
        self._recorder = recorder
        self._clock = clock
        #: Jobs that wait for the acknowledgement of dead letters.
        self.dying: dict[Job, list[Dead]] = {}

    def not_run(self, job: Job) -> None:
        """Give back all of a job that wasn't started."""
        self.conclude(job)

    def shorten(self, job: Job) -> None:
        """Leave a running job with what it is at, which may take long, or for ever.

        What it has handled is settled, and what it hasn't started is free again.
        """
        for work, outcome in job.take_done():
            self._is_done(work, outcome)
        rest = job.take_back()
        for work in rest:
            self._give_back(work)
        rest += [work for work, _ in job.blocked]
        job.blocked = []
        if rest:
            self._claims.lanes.shorten(job.run, rest)

    @property
    def held_up(self) -> int:
        """Events of jobs that wait for the acknowledgement of dead letters."""
        return sum(len(job.run.works) for job in self.dying) if self.dying else 0

    def unwritten(self) -> Iterator[tuple[Work, float, Exception]]:
        """Events whose dead letter couldn't be written: when it is tried again, and why it failed."""
        return self._burial.put_off()

    def conclude(self, job: Job) -> None:
        """Settle what a job came to."""
        now = self._clock()
        blocked: Blocked = []
        dying: list[Dead] = []
        missing = len(job.works) - len(job.outcomes)
        outcomes = [*job.outcomes, *[NOT_RUN] * missing] if missing else job.outcomes
        busy_ms = 0
        for work, outcome in zip(job.works, outcomes, strict=True):
            if outcome.attempt is not None:
                busy_ms += outcome.attempt.duration_ms
            if outcome.result is Result.HANDLED or outcome.result is Result.SKIPPED:
                self._is_done(work, outcome)
            elif outcome.result is Result.DEAD:
                dying.append(Dead(job, work, outcome))
            elif outcome.result is Result.RETRY:
                self._journal.retrying(work, outcome)
                self._recorder.retries(work, outcome)
                work.was_begun = True
                work.trouble = type(outcome.error).__name__, True
                self._settle(work, Status.RETRYING, outcome, work.answer.attempts + 1)
                blocked.append((work, now + outcome.seconds))
            else:
                if outcome.result is Result.OUTAGE:
                    self._journal.held_up(work, outcome)
                    work.trouble = type(outcome.error).__name__, False
                work.was_begun = True
                self._give_back(work)
                blocked.append((work, now + outcome.seconds))
        self._pace.handled(len(job.outcomes), busy_ms, now)
        job.blocked = blocked + job.blocked
        if not dying:
            self._claims.close(job.run, job.blocked, now)
            return
        self.dying[job] = dying
        for dead in list(dying):
            self._burial.bury(dead)

    def bury(self) -> None:
        """Settle the dead letters that the broker has acknowledged since the last call: only now are they safe."""
        for dead in self._burial.acknowledged():
            self._journal.dead_lettered(dead.work, dead.outcome)
            self._recorder.is_dead(dead)
            self._settle(dead.work, Status.FAILED, dead.outcome, attempts_of(dead))
            self._is_over(dead)
        for dead in self._burial.given_up():
            self._give_back(dead.work)
            self._is_over(dead)

    def give_up(self, partition: tuple[str, int]) -> None:
        """The partition is somebody else's: what wasn't written as a dead letter is theirs to see to."""
        self._burial.give_up(partition)

    def next_try(self) -> float | None:
        """When a dead letter is due to be sent again."""
        return self._burial.next_try()

    def _is_over(self, dead: Dead) -> None:
        dying = self.dying[dead.job]
        dying.remove(dead)
        if not dying:
            del self.dying[dead.job]
            self._claims.close(dead.job.run, dead.job.blocked, self._clock())

    def _is_done(self, work: Work, outcome: Outcome) -> None:
        if outcome.result is Result.HANDLED:
            self._recorder.is_handled(work, outcome)
        else:
            self._recorder.is_skipped(work, outcome)
        self._settle(work, Status.PROCESSED, outcome, work.answer.attempts + 1)

    def _settle(self, work: Work, status: Status, outcome: Outcome, attempts: int) -> None:
        self._claims.forget(work)
        self._exchange.settle(work, status, outcome, attempts)

    def _give_back(self, work: Work) -> None:
        self._claims.forget(work)
        self._exchange.give_back(work)
