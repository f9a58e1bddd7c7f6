"""The thread between the records that were polled and the offsets that may be committed.

Round by round it takes in what the poll thread has read, claims what is about to run, hands it to the handler threads,
settles what finished, and moves the watermarks. It owns lanes and watermarks alone, so they need no locks; the poll
thread gives it commands and reads `committable` and `held`.

The order within a round matters: an offset is finished only after the ledger has answered (else a crash right after
would leave an event committed and not recorded), and a dead letter is settled only after the broker has acknowledged it
(else a crash would leave it nowhere).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from bus import conf
from bus.consumer.burial import Burial, Dead, Sender, attempts_of
from bus.consumer.exchange import Exchange, Reply
from bus.consumer.executor import NOT_RUN, Executor, Outcome, Result
from bus.consumer.journal import Journal
from bus.consumer.lanes import Lanes, Run
from bus.consumer.offsets import Watermark
from bus.consumer.pace import Pace
from bus.consumer.pool import Job, Pool
from bus.consumer.work import Work
from bus.kafka.consumer import Partition
from bus.ledger import Answer, Claim, Ledger, Settlement, Status, Verdict

# How often a foreign claim is asked about again, at the latest: its worker may settle long before its lease is over.
_ASK_AGAIN_SECONDS = 0.5
# How long a second copy of an event waits for the first one that runs in this process.
_COPY_SECONDS = 0.05
_LONGEST_REST = 0.5
# The newest attempts of an event that its record in the ledger keeps.
_MOST_ATTEMPTS = 20
_DONE = (Verdict.DONE, Verdict.FAILED)


class Revocation:
    """Partitions that are taken away. `done` is set when nothing of theirs runs or waits to be settled."""

    def __init__(self, partitions: Iterable[Partition]) -> None:
        self.partitions = frozenset(partitions)
        self.done = threading.Event()


class Dispatcher:
    """Everything between polling and committing, for one group in one worker."""

    def __init__(
        self,
        group: str,
        worker: str,
        *,
        ledger: Ledger,
        sender: Sender,
        pool: Pool,
        settings: conf.BusSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or conf.current()
        self.group = group
        self.worker = worker
        self.failure: BaseException | None = None
        #: Next offsets that may be committed, read by the poll thread.
        self.committable: dict[Partition, int] = {}
        self.journal = Journal(group, worker, self.settings.stuck_seconds)
        self.pace = Pace(pool.concurrency, self.settings.claim_batch)
        self._clock = clock
        self._pool = pool
        self._executor = Executor(group, worker, self.settings.crash_limit)
        self._exchange = Exchange(
            ledger, f"{worker}/{group}", goes_on_without=self.settings.on_redis_down == "process", clock=clock
        )
        self._wake = threading.Event()
        self._burial = Burial(group, sender, self.settings.max_dead_letter_bytes, clock=clock, wake=self._wake.set)
        self._lanes: Lanes[Work] = Lanes(spread=pool.concurrency)
        self._watermarks: dict[Partition, Watermark] = {}
        self._commands: deque[Callable[[], None]] = deque()
        self._done: deque[Job] = deque()
        self._jobs: set[Job] = set()
        self._claimed: dict[str, Work] = {}
        self._asked: list[tuple[Run[Work], list[Work]]] = []
        self._held_jobs: list[Job] = []
        self._suspects: deque[Job] = deque()
        self._marking: Job | None = None
        self._alone: Job | None = None
        self._dying: dict[Job, list[Dead]] = {}
        self._moved: set[Partition] = set()
        self._revocations: list[Revocation] = []
        self._draining = False
        self._ended = False
        self._thread = threading.Thread(target=self._live, name=f"bus-dispatcher-{group}", daemon=True)

    # -- called by the poll thread ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def take_in(self, works: Sequence[Work]) -> None:
        """Events that were read, in the order of their partitions."""
        self._command(lambda: self._take_in(works))

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Partitions that are ours from now on."""
        fresh = list(partitions)
        self._command(lambda: self._watermarks.update((each, Watermark()) for each in fresh))

    def revoke(self, partitions: Iterable[Partition]) -> Revocation:
        """Begin to let go of partitions: nothing of theirs is started any more."""
        revocation = Revocation(partitions)
        self._command(lambda: self._revoke(revocation))
        return revocation

    def release(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Let go for good, and answer what may be committed for these partitions."""
        released: dict[Partition, int] = {}
        done = threading.Event()
        gone = list(partitions)

        def let_go() -> None:
            released.update(self._release(gone))
            done.set()

        self._command(let_go)
        done.wait(timeout=5.0)
        return released

    def drain(self) -> None:
        """Start nothing any more, in any partition; the worker is about to stop."""
        self._draining = True
        self._wake.set()

    def end(self, timeout: float) -> None:
        """Stop the thread and end the lease: what is still claimed may be taken over at once.

        A handler that still runs keeps the lease, so that its event isn't run beside it before the lease has lapsed.
        """
        self._ended = True
        self._wake.set()
        self._thread.join(timeout)
        if not self._jobs:
            self._exchange.end()

    def held(self, partition: Partition) -> tuple[int, int]:
        """Events and bytes of a partition that are in hand; a snapshot."""
        return self._lanes.held(partition)

    def is_alive(self) -> bool:
        """Whether the thread does its work."""
        return self._thread.is_alive()

    @property
    def is_ledger_away(self) -> bool:
        """Whether Redis can't be reached at the moment."""
        return self._exchange.is_away

    def running(self) -> list[Job]:
        """Jobs that handlers work on; a snapshot."""
        return [job for job in list(self._jobs) if job.current is not None]

    def _command(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        self._wake.set()

    # -- the rounds -------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            while not self._ended:
                self._wake.wait(self._rest())
                self._wake.clear()
                self.round()
        except BaseException as error:
            self.failure = error
            self.journal.broken(error)

    def round(self) -> None:
        """Do everything there is to do now."""
        while self._commands:
            self._commands.popleft()()
        while self._done:
            self._conclude(self._done.popleft())
        for dead in self._burial.acknowledged():
            self._buried(dead)
        self._begin_call()
        reply = self._exchange.perform()
        if reply is not None:
            self._apply(reply)
        self._submit()
        self._exchange.beat(self.settings.lease_seconds / 3)
        self._report_stuck()
        self._close_revocations()

    def _rest(self) -> float:
        """Seconds until something is due."""
        now = self._clock()
        due = [self._burial.next_try(), self._exchange.next_try]
        if self._exchange.is_free and not self._draining:
            due.append(self._lanes.next_due())
        if self._suspects or self._held_jobs:
            due.append(now + 0.01)  # waits for the other groups of the process to fall silent
        elif self._exchange.is_free and (self._exchange.unsettled or self._may_claim()):
            return 0.0
        return min([max(0.0, at - now) for at in due if at is not None] + [_LONGEST_REST])

    def _may_claim(self) -> bool:
        return not self._draining and self._lanes.has_ready and self._room() > 0

    def _room(self) -> int:
        if self._suspects or self._alone or self._held_jobs:
            return 0
        return self.pace.room(self._lanes.out)

    # -- taking in and letting go -----------------------------------------------------------------------------------

    def _take_in(self, works: Sequence[Work]) -> None:
        fresh = []
        for work in works:
            watermark = self._watermarks.get(work.source)
            # Not ours any more, or read a second time: the first reading is still in hand.
            if watermark is not None and watermark.add(work.offset):
                fresh.append(work)
        self._lanes.add(fresh)

    def _revoke(self, revocation: Revocation) -> None:
        for partition in revocation.partitions:
            self._lanes.drop(partition)
        for job in self._jobs:
            if job.run.source in revocation.partitions:
                job.stop = True
        for job in [*self._held_jobs, *self._suspects]:
            if job.run.source in revocation.partitions:
                self._withdraw(job)
        self._revocations.append(revocation)

    def _withdraw(self, job: Job) -> None:
        """Take back a job that was never given to a thread."""
        if job is self._marking:
            job.stop = True  # the ledger is being told of it; given back with the number of that call
            return
        if job in self._suspects:
            self._suspects.remove(job)
        else:
            self._held_jobs.remove(job)
        if not self._suspects and not self._alone:
            self._pool.gate.end_alone(self)
        self._not_run(job)

    def _not_run(self, job: Job) -> None:
        job.outcomes = [NOT_RUN] * len(job.works)
        self._conclude(job)

    def _release(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        released = {}
        for partition in partitions:
            for dead in self._burial.give_up(partition):
                self._given_up(dead)
            watermark = self._watermarks.pop(partition, None)
            self.committable.pop(partition, None)
            if watermark is not None and watermark.committable is not None:
                released[partition] = watermark.committable
        return released

    def _close_revocations(self) -> None:
        if self._draining:
            for job in self._jobs:
                job.stop = True
            for job in [*self._held_jobs, *self._suspects]:
                self._withdraw(job)
        for revocation in list(self._revocations):
            busy = any(job.run.source in revocation.partitions for job in (*self._jobs, *self._dying))
            if not busy and not self._exchange.unsettled:
                self._revocations.remove(revocation)
                revocation.done.set()

    # -- claiming ---------------------------------------------------------------------------------------------------

    def _begin_call(self) -> None:
        if not self._exchange.is_free:
            return
        if self._marking is None and self._suspects and not self._alone and self._pool.gate.try_alone(self):
            self._marking = self._suspects[0]
            self._exchange.ask([self._claim(self._marking.works[0], alone=True)])
            return
        claims: list[Claim] = []
        room = 0 if self._draining else self._room()
        for run in self._lanes.take(room, self._clock()) if room else ():
            # Of two copies of an event, in one run or two, the second waits for what becomes of the first.
            works = [work for work in run.works if self._claimed.setdefault(work.event_id, work) is work]
            claims += [self._claim(work) for work in works]
            self._asked.append((run, works))
        self._exchange.ask(claims)

    def _claim(self, work: Work, *, alone: bool = False) -> Claim:
        return Claim(work.event_id, self.group, work.topic, work.generation, alone)

    def _apply(self, reply: Reply) -> None:
        for work, settlement, kept in reply.settled:
            if settlement.outcome in (Status.PROCESSED, Status.FAILED):
                # Not kept means that another worker owns the event by now, and settles it: it is no longer ours to
                # redo, but neither is it known to be done, so its offset stays until it is read or asked again.
                if kept:
                    self._finish(work)
                else:
                    self._ask_again(work)
        if self._marking is not None:
            self._apply_mark(self._marking, reply.answers[0])
            return
        answers = iter(reply.answers)
        asked, self._asked = self._asked, []
        for run, works in asked:
            self._begin(run, {id(work): next(answers) for work in works})
        self._publish_watermarks()

    def _apply_mark(self, job: Job, answer: Answer) -> None:
        """The suspect is marked: should the worker die now, it is known what it ran."""
        self._marking = None
        self._suspects.popleft()
        work = job.works[0]
        if answer.verdict in (Verdict.GRANTED, Verdict.AGAIN):
            work.number = answer.number
        else:  # somebody else has it by now; giving back what isn't ours changes nothing
            job.stop = True
        if job.stop:
            if not self._suspects:
                self._pool.gate.end_alone(self)
            self._not_run(job)
            return
        self._alone = job
        self._jobs.add(job)
        self._pool.gate.enter(self, 1)
        self._pool.submit([job])

    def _begin(self, run: Run[Work], answers: dict[int, Answer]) -> None:
        """Make a job of what was granted of a run, and put off what wasn't."""
        now = self._clock()
        ready: list[Work] = []
        blocked: list[tuple[Work, float]] = []
        for work in run.works:
            answer = answers.get(id(work))
            if answer is not None and answer.verdict in _DONE:
                self._unclaim(work)
                self._finish(work)
                continue
            until = self._admit(work, answer, now)
            if until is None and not self._fits(work, ready, blocked, run):
                self._give_back(work)
                until = now
            if until is None:
                ready.append(work)
            else:
                blocked.append((work, until))
        if not ready:
            self._close(run, blocked)
            return
        job = Job(run, ready, self._executor, self._job_done)
        job.blocked = blocked
        if self._is_suspect(ready[0]):
            self.journal.suspected(ready[0])
            self._suspects.append(job)
        else:
            self._held_jobs.append(job)

    def _fits(self, work: Work, ready: list[Work], blocked: list[tuple[Work, float]], run: Run[Work]) -> bool:
        """Whether a granted event may join the job: not past one of its lane that waits, and a suspect only alone."""
        if run.dropped or (blocked and run.lane is not None):
            return False
        return not ready or not (self._is_suspect(work) or self._is_suspect(ready[0]))

    def _is_suspect(self, work: Work) -> bool:
        return work.suspect and work.crashes < self.settings.crash_limit

    def _admit(self, work: Work, answer: Answer | None, now: float) -> float | None:
        """Note what the ledger said of an event; None when it is granted, else when to ask again."""
        if answer is None:
            return now + _COPY_SECONDS
        if answer.verdict in (Verdict.GRANTED, Verdict.AGAIN):
            work.number = answer.number
            work.attempts, work.crashes, work.suspect = answer.attempts, answer.crashes, answer.suspect
            work.history = answer.history
            return None
        self._unclaim(work)
        wait = answer.wait_ms / 1000
        return now + (wait if answer.verdict is Verdict.WAIT else min(wait, _ASK_AGAIN_SECONDS))

    # -- running ----------------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        if not self._held_jobs or self._suspects or self._alone or self._marking:
            return
        jobs = self._held_jobs
        if self._pool.gate.enter(self, len(jobs)):
            self._held_jobs = []
            self._jobs.update(jobs)
            self._pool.submit(jobs)

    def _job_done(self, job: Job) -> None:
        """Called on a handler thread."""
        self._done.append(job)
        if not self._wake.is_set():
            self._wake.set()

    def _conclude(self, job: Job) -> None:
        """Settle what a job came to."""
        now = self._clock()
        self._leave(job, now)
        blocked: list[tuple[Work, float]] = []
        dying: list[Dead] = []
        handled = 0
        for work, outcome in zip(job.works, job.outcomes, strict=True):
            if outcome.result is Result.HANDLED or outcome.result is Result.SKIPPED:
                handled += 1
                self._settle(work, Status.PROCESSED, outcome)
            elif outcome.result is Result.DEAD:
                dying.append(Dead(job, work, outcome))
            elif outcome.result is Result.RETRY:
                self.journal.retrying(work, outcome)
                self._settle(work, Status.RETRYING, outcome)
                blocked.append((work, now + outcome.seconds))
            else:
                if outcome.result is Result.OUTAGE:
                    self.journal.held_up(work, outcome)
                self._give_back(work)
                blocked.append((work, now + outcome.seconds))
        self.pace.handled(handled, now)
        job.blocked = blocked + job.blocked
        if not dying:
            self._close(job.run, job.blocked)
            return
        self._dying[job] = dying
        for dead in list(dying):
            self._burial.bury(dead)

    def _leave(self, job: Job, now: float) -> None:
        if job not in self._jobs:
            return
        self._jobs.discard(job)
        if job.reported_stuck:
            self.journal.came_back(job, now)
        else:
            self._pool.gate.leave(self, 1)
        if job is self._alone:
            self._end_alone()

    def _end_alone(self) -> None:
        self._alone = None
        if not self._suspects:
            self._pool.gate.end_alone(self)

    def _buried(self, dead: Dead) -> None:
        """The broker has acknowledged the dead letter: only now is the event settled."""
        self.journal.dead_lettered(dead.work, dead.outcome)
        self._settle(dead.work, Status.FAILED, dead.outcome, attempts_of(dead))
        self._is_over(dead)

    def _given_up(self, dead: Dead) -> None:
        self._give_back(dead.work)
        self._is_over(dead)

    def _is_over(self, dead: Dead) -> None:
        dying = self._dying[dead.job]
        dying.remove(dead)
        if not dying:
            del self._dying[dead.job]
            self._close(dead.job.run, dead.job.blocked)

    def _close(self, run: Run[Work], blocked: list[tuple[Work, float]]) -> None:
        """Give the lane free, but for what has to wait."""
        now = self._clock()
        if run.dropped or not blocked:
            self._lanes.give_back(run, ())
        elif run.lane is None:
            later = [(work, until) for work, until in blocked if until > now]
            self._lanes.scatter(run, later, [work for work, until in blocked if until <= now])
        else:
            works, until = [work for work, _ in blocked], blocked[0][1]
            if until > now:
                self._lanes.park(run, works, until)
            else:
                self._lanes.give_back(run, works)

    def _report_stuck(self) -> None:
        # A stuck handler doesn't keep a suspect from running: alone would then mean never.
        for job in self.journal.watch(self._jobs, self._clock()):
            self._pool.gate.leave(self, 1)
            if job is self._alone:  # it has not killed its worker so far, and others have waited long enough
                self._end_alone()

    # -- settling ---------------------------------------------------------------------------------------------------

    def _settle(self, work: Work, status: Status, outcome: Outcome, attempts: int | None = None) -> None:
        self._unclaim(work)
        history = work.history if outcome.attempt is None else (*work.history, outcome.attempt)[-_MOST_ATTEMPTS:]
        settlement = Settlement(
            work.event_id,
            self.group,
            work.topic,
            work.generation,
            work.number,
            status,
            work.attempts + 1 if attempts is None else attempts,
            work.crashes,
            history,
            int(outcome.seconds * 1000),
        )
        self._exchange.settle(work, settlement)

    def _give_back(self, work: Work) -> None:
        """What was claimed and didn't run is free again, for us or for whoever has the partition next."""
        self._unclaim(work)
        settlement = Settlement(work.event_id, self.group, work.topic, work.generation, work.number, None)
        self._exchange.settle(work, settlement)

    def _unclaim(self, work: Work) -> None:
        if self._claimed.get(work.event_id) is work:
            del self._claimed[work.event_id]

    def _finish(self, work: Work) -> None:
        watermark = self._watermarks.get(work.source)
        if watermark is not None:
            watermark.finish(work.offset)
            self._moved.add(work.source)

    def _ask_again(self, work: Work) -> None:
        self.journal.taken_over(work)
        if work.source in self._watermarks:
            self._lanes.add([work])

    def _publish_watermarks(self) -> None:
        for partition in self._moved:
            watermark = self._watermarks.get(partition)
            if watermark is not None and watermark.committable is not None:
                self.committable[partition] = watermark.committable
        self._moved.clear()
