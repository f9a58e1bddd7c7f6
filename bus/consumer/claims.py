"""Which events a dispatcher asks the ledger for, and the jobs that it makes of the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bus.consumer.exchange import Exchange
from bus.consumer.executor import Executor
from bus.consumer.lanes import Lanes, Run
from bus.consumer.pool import Job
from bus.consumer.progress import Progress
from bus.consumer.recorder import Recorder
from bus.consumer.work import NOT_ASKED, Work
from bus.ledger import Answer, Claim, Verdict

# How often a foreign claim is asked about again, at the latest: its worker may settle long before its lease is over.
_ASK_AGAIN_SECONDS = 0.5
# How long a second copy of an event waits for the first one that runs in this process.
_COPY_SECONDS = 0.05

#: An event of a run that has to wait, and until when.
Blocked = list[tuple[Work, float]]


class Claims:
    """The events in hand, from lane to job. Used by one thread.

    An event is *claimed* from the question until it is settled or given back. Of two copies of an event the second
    waits until the first is no longer claimed: the ledger would grant it to the worker that has it already.
    """

    def __init__(
        self,
        executor: Executor,
        concurrency: int,
        progress: Progress,
        exchange: Exchange,
        job_done: Callable[[Job], None],
        recorder: Recorder,
    ) -> None:
        self.lanes: Lanes[Work] = Lanes(spread=concurrency)
        #: The group's name in the ledger.
        self.group = executor.group
        self._executor = executor
        self._progress = progress
        self._exchange = exchange
        self._job_done = job_done
        self._recorder = recorder
        self._claimed: dict[str, Work] = {}
        self._runs: list[Run[Work]] = []
        self._asked: list[Work] = []

    def ask(self, room: int, longest_run: int, now: float) -> list[Claim]:
        """Take up to `room` events out of their lanes; `answered` takes the answers, in the same order."""
        claimed, group, asked = self._claimed, self.group, self._asked
        self.lanes.run_limit = longest_run
        self._runs = self.lanes.take(room, now) if room else []
        for run in self._runs:
            for work in run.works:
                work.answer = NOT_ASKED
                if claimed.setdefault(work.event_id, work) is work:
                    asked.append(work)
        return [Claim(work.event_id, group, work.topic, work.generation) for work in asked]

    def answered(self, answers: Sequence[Answer], now: float) -> list[Job]:
        """Jobs of what was granted; what wasn't waits in its lane, and what is done already is finished."""
        for work, answer in zip(self._asked, answers, strict=True):
            work.answer = answer
        runs, self._runs = self._runs, []
        self._asked.clear()
        return [job for run in runs if (job := self._begin(run, now)) is not None]

    def mark(self, work: Work) -> Claim:
        """The claim that marks a suspect as running alone."""
        return Claim(work.event_id, self.group, work.topic, work.generation, True)

    def forget(self, work: Work) -> None:
        """The event is settled or given back."""
        if self._claimed.get(work.event_id) is work:
            del self._claimed[work.event_id]

    def claimed(self) -> Iterable[Work]:
        """Events that are with a handler, or asked for."""
        return self._claimed.values()

    def is_suspect(self, work: Work) -> bool:
        """Whether the event was in the hands of a worker that died, and must run alone."""
        return work.answer.suspect and work.answer.crashes < self._executor.crash_limit

    def close(self, run: Run[Work], blocked: Blocked, now: float) -> None:
        """Give the run's lane free, but for what has to wait."""
        if run.dropped or not blocked:
            self.lanes.give_back(run, ())
        elif run.lane is None:
            later = [(work, until) for work, until in blocked if until > now]
            self.lanes.scatter(run, later, [work for work, until in blocked if until <= now])
        else:
            works, until = [work for work, _ in blocked], blocked[0][1]
            if until > now:
                self.lanes.park(run, works, until)
            else:
                self.lanes.give_back(run, works)

    def withdraw(self, partitions: Iterable[tuple[str, int]]) -> None:
        """These partitions are taken away: forget what waits."""
        for partition in partitions:
            self.lanes.drop(partition)

    def _begin(self, run: Run[Work], now: float) -> Job | None:
        ready: list[Work] = []
        blocked: Blocked = []
        for work in run.works:
            verdict = work.answer.verdict
            if verdict is Verdict.GRANTED or verdict is Verdict.AGAIN:
                if self._fits(work, ready, blocked, run):
                    ready.append(work)
                else:
                    self.forget(work)
                    self._exchange.give_back(work)
                    blocked.append((work, now))
            elif verdict is Verdict.DONE or verdict is Verdict.FAILED:
                self.forget(work)
                self._progress.finish(work)
                self._recorder.is_copy(work)
            else:
                blocked.append((work, now + self._wait(work)))
        if not ready:
            self.close(run, blocked, now)
            return None
        return Job(run, ready, blocked, self._executor, self._job_done)

    def _fits(self, work: Work, ready: list[Work], blocked: Blocked, run: Run[Work]) -> bool:
        """Whether a granted event may join the job: not past one of its lane that waits, and a suspect only alone."""
        if run.dropped or (blocked and run.lane is not None):
            return False
        return not ready or not (work.answer.suspect or ready[0].answer.suspect)

    def _wait(self, work: Work) -> float:
        """Seconds until an event that wasn't granted is asked for again."""
        if work.answer is NOT_ASKED:
            return _COPY_SECONDS
        self.forget(work)
        wait = work.answer.wait_ms / 1000
        return wait if work.answer.verdict is Verdict.WAIT else min(wait, _ASK_AGAIN_SECONDS)
