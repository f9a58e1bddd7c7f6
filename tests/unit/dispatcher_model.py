"""Two workers of a group on two partitions, and everything that can happen to them, in an order that a seed decides.

The world sees every handler begin and end. So it can say what must never be: an event that runs again, or beside
itself, or before an earlier one of its key, or while it is paused; company for a suspect; a commit that passes an event
in hand; and, when everything has calmed down, an event that is left over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from bus.consumer.pool import Job
from bus.consumer.work import Work
from bus.errors import PermanentError, PublishUnknownError
from bus.kafka.consumer import Partition
from bus.ledger import Status
from bus.ledger.mirror import Pause
from tests.unit.dispatch_stage import GROUP, P0, P1, TOPIC, MemoryLedger, Stage, Time, stage

PARTITIONS = (P0, P1)
LONGEST_OUTAGE = 15.0  # shorter than the lease


class ViolationError(AssertionError):
    """Something happened that must not."""


class World:
    """The group, its broker and its Redis."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.ledger = MemoryLedger(Time())
        self.clock = self.ledger.clock
        self.records: dict[Partition, list[tuple[str | None, str]]] = {each: [] for each in PARTITIONS}
        self.committed = dict.fromkeys(PARTITIONS, 0)
        self.position = dict.fromkeys(PARTITIONS, 0)
        self.owner: dict[Partition, int] = {}
        self.workers: dict[int, Stage] = {}
        self.answered: dict[int, int] = {}
        self.running: list[tuple[int, Job]] = []
        self.failures: dict[str, int] = {}  # how often an event will fail; -1: for good
        self.done: set[str] = set()
        self.dead: set[str] = set()
        self.uncertain: set[str] = set()  # a worker died before it could say that they are done
        self.away_since = 0.0
        self.paused = Pause()
        for _ in PARTITIONS:
            self.hire()
        for partition in PARTITIONS:
            self.assign(partition)

    # -- workers ----------------------------------------------------------------------------------------------------

    def hire(self) -> None:
        """One more worker."""
        number = max(self.workers, default=0) + 1
        worker = stage(
            ledger=self.ledger,
            worker=f"w{number}",
            retry_delays=(2.0, 2.0),
            crash_limit=100,
            stuck_seconds=self.random.choice([3, 60]),
        )
        worker.release(P0)
        worker.dispatcher.pause(self.paused)
        self.workers[number], self.answered[number] = worker, 0

    def dismiss(self, number: int) -> None:
        """The worker's process is over: what ran there runs no more, and another one comes."""
        self.hire()
        del self.workers[number]
        self.running = [(each, job) for each, job in self.running if each != number]
        for partition in self.of(number):
            self.assign(partition)

    def of(self, number: int) -> list[Partition]:
        """The partitions that a worker has."""
        return [partition for partition in PARTITIONS if self.owner.get(partition) == number]

    def assign(self, partition: Partition) -> None:
        """Somebody gets the partition, and reads on from where it is committed."""
        self.owner[partition] = self.any_worker()
        self.position[partition] = self.committed[partition]
        self.workers[self.owner[partition]].dispatcher.assign([partition])

    def any_worker(self) -> int:
        """One of the workers."""
        return self.random.choice(sorted(self.workers))

    def let_go(self, number: int, partitions: Sequence[Partition], patience: int) -> None:
        """What the poll thread does when partitions are taken away."""
        worker = self.workers[number]
        revocation = worker.dispatcher.revoke(partitions)
        worker.round()
        for _ in range(self.random.randint(0, patience)):
            if revocation.done.is_set():
                break
            self.random.choice([self.round, self.begin, self.end, self.answer])()
            worker.round()
        released = worker.dispatcher._release(partitions)
        if self.random.random() < 0.8:
            for partition, offset in released.items():
                self.store(partition, offset)
        worker.round(self.random.randint(0, 1))

    # -- what can happen --------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """New events, and now and then an old one again; of the same key on the same partition."""
        for _ in range(self.random.randint(1, 6)):
            partition = self.random.choice(PARTITIONS)
            key, name = self.random.choice([None, None, "a", "b", "c"]), f"e{len(self.failures)}"
            published = [(each, record) for each in PARTITIONS for record in self.records[each]]
            if published and self.random.random() < 0.2:
                place, (key, name) = self.random.choice(published)
                partition = partition if key is None else place
            else:
                self.failures[name] = self.random.choices([0, 1, 2, 3, -1], [12, 2, 1, 1, 1])[0]
            self.records[partition].append((key, name))

    def read(self) -> None:
        """A worker polls."""
        number = self.any_worker()
        for partition in self.of(number):
            first = self.position[partition]
            records = self.records[partition][first : first + self.random.randint(0, 8)]
            self.position[partition] += len(records)
            self.workers[number].read(partition, *((first + at, *record) for at, record in enumerate(records)))

    def round(self) -> None:
        """A worker's dispatcher has its turn."""
        self.workers[self.any_worker()].round(self.random.randint(1, 3))
        self.check_solitude()

    def begin(self) -> None:
        """A handler thread takes a job."""
        number = self.any_worker()
        waiting = self.workers[number].pool.waiting
        if waiting and sum(each == number for each, _ in self.running) < 2:
            self.go_on(number, waiting.pop(0))

    def end(self) -> None:
        """A handler returns, or raises; its thread goes on with the job."""
        if not self.running:
            return
        number, job = self.running.pop(self.random.randrange(len(self.running)))
        work = job.current
        assert work is not None
        self.workers[number].does[work.event_id] = self.effect(work.event_id)
        outcome = job._executor.run(work)
        if outcome.is_good:
            self.done.add(work.event_id)
        if job._goes_on_after(outcome):
            self.go_on(number, job)
        else:
            job._finish()

    def answer(self) -> None:
        """The broker answers some dead letters."""
        number = self.any_worker()
        sent = self.workers[number].outbox.sent
        while self.answered[number] < len(sent) and self.random.random() < 0.8:
            letter = sent[self.answered[number]]
            self.answered[number] += 1
            if self.random.random() < 0.7:
                self.dead.add(letter.event_id)
                letter.acknowledge()
            else:
                letter.on_delivery(PublishUnknownError(letter.event_id, "no answer"))

    def commit(self) -> None:
        """The poll threads commit."""
        for partition in PARTITIONS:
            offset = self.workers[self.owner[partition]].dispatcher.committable.get(partition)
            if offset is not None:
                self.store(partition, offset)

    def rebalance(self) -> None:
        """A partition goes to somebody else, or comes back at once."""
        partition = self.random.choice(PARTITIONS)
        self.let_go(self.owner[partition], [partition], 15)
        self.assign(partition)

    def crash(self) -> None:
        """A worker is killed."""
        number = self.any_worker()
        worker = self.workers[number]
        for each, job in self.running:
            if each == number and job.current is not None and self.random.random() < 0.3:
                name = job.current.event_id  # it got as far as its effect
                if self.failures[name] == 0:
                    self.done.add(name)
                    self.uncertain.add(name)
        self.uncertain |= {name for name in self.unsettled(worker) if name in self.done}
        for letter in worker.outbox.sent[self.answered[number] :]:
            if self.random.random() < 0.5:
                self.dead.add(letter.event_id)
        if self.random.random() < 0.5:
            self.ledger.end_lease(f"w{number}/{GROUP}")
        self.dismiss(number)

    def stop(self) -> None:
        """A worker stops in good order; handlers that take too long die with their process."""
        number = self.any_worker()
        worker = self.workers[number]
        worker.dispatcher.drain()
        self.let_go(number, self.of(number), 25)
        worker.dispatcher.start()
        worker.dispatcher.end(timeout=5.0)
        if self.ledger.is_away:
            self.uncertain |= set(self.unsettled(worker))
        self.dismiss(number)

    def redis(self) -> None:
        """Redis goes away, or comes back."""
        self.ledger.is_away = not self.ledger.is_away
        self.away_since = self.clock.now

    def steer(self) -> None:
        """Somebody pauses the group or its topic, or resumes."""
        self.pause(self.random.choice([Pause(), Pause(), Pause(whole=True), Pause(topics=frozenset({TOPIC}))]))

    def pause(self, pause: Pause) -> None:
        """All workers have heard of it, and had a turn."""
        self.paused = pause
        for worker in self.workers.values():
            worker.dispatcher.pause(pause)
            worker.round()

    def time(self) -> None:
        """Time passes."""
        step = self.random.choice([0.02, 0.1, 0.5, 2.0, 5.0])
        if self.ledger.is_away and self.clock.now + step - self.away_since > LONGEST_OUTAGE:
            self.redis()
        for passed in (0.0, step):
            self.clock.now += passed
            for worker in self.workers.values():
                worker.round()
        self.check_solitude()

    def live(self, steps: int) -> None:
        """So many things happen."""
        chances: dict[Callable[[], None], float] = {
            self.publish: 3,
            self.read: 6,
            self.round: 20,
            self.begin: 14,
            self.end: 14,
            self.answer: 4,
            self.commit: 4,
            self.time: 6,
            self.rebalance: 1.0,
            self.redis: 0.5,
            self.steer: 0.7,
            self.crash: 0.3,
            self.stop: 0.3,
        }
        for happens in self.random.choices(list(chances), list(chances.values()), k=steps):
            happens()

    def calm_down(self) -> None:
        """Nothing goes wrong any more. All that was published must come to an end, and leave nothing behind."""
        self.ledger.is_away = False
        self.pause(Pause())
        peaceful = (
            self.read,
            self.round,
            self.begin,
            self.end,
            self.begin,
            self.end,
            self.answer,
            self.commit,
            self.time,
        )
        for _ in range(1000):
            for happens in peaceful:
                happens()
            if all(self.committed[each] == len(self.records[each]) for each in PARTITIONS):
                break
        else:
            raise ViolationError(f"committed {self.committed}, and nothing more")
        for _ in range(300):
            for happens in peaceful:
                happens()
        for worker in self.workers.values():
            worker_at_rest(worker)

    # -- what must never be -----------------------------------------------------------------------------------------

    def go_on(self, number: int, job: Job) -> None:
        """A handler thread begins with the next event of a job, if there is one."""
        work = job._next(self.clock)
        if work is None:
            job._finish()
            return
        name = work.event_id
        if self.paused.covers(work.topic):
            raise ViolationError(f"{name} begins while it is paused")
        if any(other.current is not None and other.current.event_id == name for _, other in self.running):
            raise ViolationError(f"{name} runs beside itself")
        if name in self.done and name not in self.uncertain:
            raise ViolationError(f"{name} is handled again")
        self.check_order(work)
        self.running.append((number, job))
        self.check_solitude()

    def check_order(self, work: Work) -> None:
        """Whether all before it with its key are over."""
        if work.lane is None:
            return
        for key, name in self.records[work.source][: work.offset]:
            if key is not None and key.encode() == work.lane and name != work.event_id and not self.is_over(name):
                raise ViolationError(f"{work.event_id} runs before {name}")

    def check_solitude(self) -> None:
        """Whether suspects run alone, but for handlers that hang."""
        for number in self.workers:
            works = [job.current for each, job in self.running if each == number and not job.reported_stuck]
            if len(works) > 1 and any(work is not None and work.answer.suspect for work in works):
                raise ViolationError("a suspect has company")

    def store(self, partition: Partition, offset: int) -> None:
        """The broker stores a committed offset."""
        for _, name in self.records[partition][:offset]:
            if not self.is_over(name):
                raise ViolationError(f"the commit of {offset} passes {name}")
        if offset < self.committed[partition]:
            raise ViolationError(f"the commit of {offset} takes back {self.committed[partition]}")
        self.committed[partition] = offset

    def is_over(self, name: str) -> bool:
        """Whether the event is handled or a dead letter."""
        return name in self.done or name in self.dead

    def unsettled(self, worker: Stage) -> list[str]:
        """What the worker has run and the ledger doesn't know to be done."""
        return [name for name in worker.handled if self.ledger_status(name) is not Status.PROCESSED]

    def ledger_status(self, name: str) -> Status | None:
        """What the ledger says of an event."""
        entry = self.ledger.entries.get(name)
        return entry.status if entry else None

    def effect(self, name: str) -> Callable[[], None]:
        """What the handler does with an event."""

        def act() -> None:
            if self.failures[name] < 0:
                raise PermanentError("for good")
            if self.failures[name] > 0:
                self.failures[name] -= 1
                raise ValueError("not yet")

        return act


def worker_at_rest(worker: Stage) -> None:
    """Check that a worker that has nothing to do holds nothing."""
    dispatcher = worker.dispatcher
    gate = dispatcher._pool.gate
    left = {
        "in hand": [each for each in PARTITIONS if dispatcher.held(each) != (0, 0)],
        "out": dispatcher._claims.lanes.out,
        "claimed": dispatcher._claims._claimed,
        "jobs": dispatcher._jobs,
        "dying": dispatcher._conclusion.dying,
        "gate": gate._alone or any(gate._running.values()),
        "stuck": dispatcher._stuck,
    }
    if any(left.values()):
        raise ViolationError(f"left over: {left}")
