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
from collections.abc import Callable, Iterable, Mapping, Sequence

from bus import conf
from bus.consumer.burial import Burial, Sender
from bus.consumer.claims import Claims
from bus.consumer.conclusion import Conclusion
from bus.consumer.exchange import Exchange, Reply
from bus.consumer.executor import Executor
from bus.consumer.journal import Journal
from bus.consumer.pace import Pace
from bus.consumer.pool import Job, Pool
from bus.consumer.progress import Progress
from bus.consumer.recorder import Recorder
from bus.consumer.solitude import Solitude
from bus.consumer.survey import Sight, Surveyor
from bus.consumer.work import Work
from bus.kafka.consumer import Partition
from bus.ledger import Answer, Ledger, Status, Verdict
from bus.ledger.mirror import Pause, ledger_name

_LONGEST_REST = 0.5
# While jobs are held back the other groups of the process are asked this often whether they are silent yet.
_HELD_REST = 0.01


class Revocation:
    """Partitions that are taken away. `done` is set when nothing of theirs runs or waits to be settled."""

    def __init__(self, partitions: Iterable[Partition]) -> None:
        self.partitions = frozenset(partitions)
        self.done = threading.Event()


class Dispatcher:
    """Everything between polling and committing, for one group in one worker."""

    #: Set when the look at partitions that somebody asked for is over.
    _looking: threading.Event | None = None

    def __init__(
        self,
        group: str,
        worker: str,
        *,
        ledger: Ledger,
        sender: Sender,
        pool: Pool,
        recorder: Recorder,
        settings: conf.BusSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings = settings or conf.current()
        self.group = group
        self.failure: BaseException | None = None
        self._progress = Progress()
        self.pace = Pace(pool.concurrency, settings.claim_batch)
        self._clock = clock
        self._pool = pool
        self._wake = threading.Event()
        self._journal = Journal(group, worker, settings.stuck_seconds)
        self._exchange = Exchange(
            ledger, group, f"{worker}/{group}", goes_on_without=settings.on_redis_down == "process", clock=clock
        )
        self._solitude = Solitude(pool.gate)
        self._executor = executor = Executor(group, worker, settings.crash_limit, recorder.begins)
        self._claims = Claims(executor, pool.concurrency, self._progress, self._exchange, self._job_done, recorder)
        self._burial = burial = Burial(group, sender, settings.max_dead_letter_bytes, clock=clock, wake=self._wake.set)
        self._conclusion = Conclusion(self._claims, self._exchange, burial, self._journal, self.pace, recorder, clock)
        self._surveyor = Surveyor(self._progress, self._claims, self._conclusion, self._exchange, clock, wall_clock)
        self._sights: dict[Partition, Sight] = {}
        self._commands: deque[Callable[[], None]] = deque()
        self._held: list[Job] = []
        self._jobs: set[Job] = set()
        self._stuck = 0
        self._done: deque[Job] = deque()
        self._revocations: list[Revocation] = []
        self._draining, self._ended, self._pause = False, False, Pause()
        self._thread = threading.Thread(target=self._live, name=f"bus-dispatcher-{group}", daemon=True)

    # -- called by the poll thread ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def enter_epoch(self, number: int) -> None:
        """What the ledger and the inbox know of the group's events; before `start` only."""
        name = ledger_name(self.group, number)
        self._claims.group = self._exchange.group = self._executor.known_as = name
        self._burial.epoch = number

    def pause(self, pause: Pause) -> None:
        """What runs finishes; nothing that the pause covers is started until another one is given."""
        self._command(lambda: self._obey(pause))

    def take_in(self, works: Sequence[Work]) -> None:
        """Events that were read, in the order of their partitions."""
        self._command(lambda: self._claims.lanes.add(self._progress.take_in(works)))

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Partitions that are ours from now on."""
        fresh = list(partitions)
        self._command(lambda: self._progress.assign(fresh))

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
        return released if done.wait(timeout=5.0) else {}

    def drain(self) -> None:
        """Start nothing any more, in any partition; the worker is about to stop."""
        self._draining = True
        self._wake.set()

    def end(self, timeout: float) -> None:
        """Stop the thread and end the lease: what is still claimed may be taken over at once.

        The event of a handler that still runs waits as long as the lease would have lasted, so that it isn't run beside
        itself. Neither it nor one whose dead letter is on its way is suspected of anything.
        """
        self._ended = True
        self._wake.set()
        self._thread.join(timeout)
        if self.failure is None and not self._thread.is_alive():
            self._conclude_done()
            self._call_off(lambda _: True)
            running = [work for job in self._jobs for work in job.works]
            running += [dead.work for dying in self._conclusion.dying.values() for dead in dying]
            self._exchange.end(running, self.settings.lease_seconds)

    def held(self, partition: Partition) -> tuple[int, int]:
        """Events and bytes of a partition that are in hand; a snapshot."""
        return self._claims.lanes.held(partition)

    @property
    def backlog(self) -> int:
        """Events that wait for their turn; a snapshot."""
        return self._claims.lanes.waiting

    def is_alive(self) -> bool:
        """Whether the thread does its work."""
        return self._thread.is_alive()

    @property
    def committable(self) -> Mapping[Partition, int]:
        """Next offsets that may be committed; a snapshot."""
        return self._progress.committable

    @property
    def is_ledger_away(self) -> bool:
        """Whether Redis can't be reached at the moment."""
        return self._exchange.is_away

    def running(self) -> list[Job]:
        """Jobs that handlers work on; a snapshot."""
        return [job for job in self._jobs.copy() if job.current is not None]

    def survey(self, timeout: float = 0.2) -> Mapping[Partition, Sight]:
        """How old each partition's oldest unsettled event is, and why it waits.

        As of now, or of the last time when this thread is held up for longer than `timeout`.
        """
        looking = self._looking
        if looking is None:  # else one is asked for already, however long ago
            looking = self._looking = threading.Event()
            self._command(self._look)
        looking.wait(timeout)
        return self._sights

    def _look(self) -> None:
        self._sights = self._surveyor.look(list(self._jobs))
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.set()

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
            self._journal.broken(error)

    def round(self) -> None:
        """Do everything there is to do now."""
        while self._commands:
            self._commands.popleft()()
        self._conclude_done()
        self._conclusion.bury()
        if self._exchange.is_free:
            self._begin_call()
        reply = self._exchange.perform()
        if reply is not None:
            self._apply(reply)
        if self._pause:
            self._call_off(self._is_paused)
        self._submit()
        self._pool.keep_up()
        self._exchange.beat(self.settings.lease_seconds / 3)
        self._report_stuck()
        self._close_revocations()

    def _rest(self) -> float:
        """Seconds until something is due."""
        now = self._clock()
        due = [self._conclusion.next_try(), self._exchange.next_try]
        if self._exchange.is_free:
            if self._exchange.unsettled or self._may_claim():
                return 0.0
            if self._room() > 0:
                due.append(self._claims.lanes.next_due())
        if self._held or self._solitude.waits:
            due.append(now + _HELD_REST)
        if (behind := self._pool.next_look()) is not None:
            due.append(now + behind)
        return min([max(0.0, at - now) for at in due if at is not None] + [_LONGEST_REST])

    def _may_claim(self) -> bool:
        return self._claims.lanes.has_ready and self._room() > 0

    def _room(self) -> int:
        if self._draining or self._pause.whole or self._held or self._solitude.is_wanted or self._exchange.is_behind:
            return 0
        # What hangs, or can't be written as a dead letter, must not use up the room of all the others.
        hopeless = self._stuck + self._conclusion.held_up
        return self.pace.room(self._claims.lanes.out - hopeless, len(self._jobs) - self._stuck)

    # -- pausing ----------------------------------------------------------------------------------------------------

    def _obey(self, pause: Pause) -> None:
        self._pause = pause
        self._claims.lanes.hold_back((lambda work: work.topic in pause.topics) if pause.topics else None)
        # At once: an answer on its way may let a suspect begin that is being marked.
        self._call_off(self._is_paused)

    def _is_paused(self, job: Job) -> bool:
        return bool(job.works) and self._pause.covers(job.works[0].topic)

    # -- taking in and letting go -----------------------------------------------------------------------------------

    def _revoke(self, revocation: Revocation) -> None:
        self._progress.withdraw(revocation.partitions)
        self._claims.withdraw(revocation.partitions)
        self._call_off(lambda job: job.run.source in revocation.partitions)
        self._revocations.append(revocation)

    def _call_off(self, wanted: Callable[[Job], bool]) -> None:
        """Don't start what hasn't started."""
        for job in filter(wanted, self._jobs):
            self._conclusion.shorten(job)
        gone = [*self._solitude.withdraw(wanted), *filter(wanted, self._held)]
        self._held = [job for job in self._held if not wanted(job)]
        for job in gone:
            self._conclusion.not_run(job)

    def _release(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        for partition in partitions:
            self._conclusion.give_up(partition)
        return self._progress.release(partitions)

    def _close_revocations(self) -> None:
        if self._draining:
            self._call_off(lambda _: True)
        for revocation in list(self._revocations):
            jobs = (*self._jobs, *self._conclusion.dying)
            busy = any(job.works and job.run.source in revocation.partitions for job in jobs)
            if not busy and self._exchange.is_free and not self._exchange.unsettled:
                self._revocations.remove(revocation)
                revocation.done.set()

    # -- claiming and running ---------------------------------------------------------------------------------------

    def _begin_call(self) -> None:
        suspect = self._solitude.next_to_mark()
        if suspect is not None:
            self._exchange.ask([self._claims.mark(suspect.works[0])])
            return
        self._exchange.ask(self._claims.ask(self._room(), self.pace.longest_run, self._clock()))
        if self._exchange.is_free:
            # Nothing to ask about: what was taken, if anything, are second copies of events in hand.
            self._start(self._claims.answered((), self._clock()))

    def _apply(self, reply: Reply) -> None:
        for work, settlement, kept in reply.settled:
            if settlement.outcome is Status.PROCESSED or settlement.outcome is Status.FAILED:
                if kept:
                    self._progress.finish(work)
                else:
                    # Another worker owns the event by now and settles it. It isn't known to be done, so its offset
                    # stays, and the ledger is asked again until it is.
                    self._journal.taken_over(work)
                    work.was_begun = True
                    if self._progress.is_ours(work.source):
                        self._claims.lanes.add([work])
        suspect = self._solitude.marked()
        if suspect is not None:
            self._start_alone(suspect, reply.answers[0])
        else:
            self._start(self._claims.answered(reply.answers, self._clock()))
        self._progress.publish()

    def _start(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            if self._claims.is_suspect(job.works[0]):
                self._journal.suspected(job.works[0])
                self._solitude.add(job)
            else:
                self._held.append(job)

    def _start_alone(self, job: Job, answer: Answer) -> None:
        """The suspect is marked: should the worker die now, it is known what it ran."""
        job.works[0].answer = answer
        if job.stop or answer.verdict not in (Verdict.GRANTED, Verdict.AGAIN):
            self._solitude.leave(job)
            self._conclusion.not_run(job)
            return
        self._jobs.add(job)
        self._pool.gate.enter(self._solitude, 1)
        self._pool.submit([job])

    def _submit(self) -> None:
        if not self._held or self._solitude.is_wanted:
            return
        jobs = self._held
        if self._pool.gate.enter(self._solitude, len(jobs)):
            self._held = []
            self._jobs.update(jobs)
            self._pool.submit(jobs)

    def _job_done(self, job: Job) -> None:
        """Called on a handler thread."""
        self._done.append(job)
        if not self._wake.is_set():
            self._wake.set()

    def _conclude_done(self) -> None:
        now, left = self._clock(), 0
        while self._done:
            job = self._done.popleft()
            self._jobs.discard(job)
            if job.reported_stuck:
                self._stuck -= 1
                self._journal.came_back(job, now)
            else:
                left += 1
                self._solitude.leave(job)
            self._conclusion.conclude(job)
        if left:
            self._pool.gate.leave(self._solitude, left)

    def _report_stuck(self) -> None:
        # A stuck handler doesn't keep a suspect from running (alone would mean never), and a stuck suspect doesn't keep
        # the others waiting: it has had its time to kill its worker.
        for job in self._journal.watch(self._jobs, self._clock()):
            self._stuck += 1
            self._pool.gate.leave(self._solitude, 1)
            self._solitude.leave(job)
            self._conclusion.shorten(job)
