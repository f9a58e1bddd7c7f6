"""A dispatcher with everything around it made of memory, and a clock that only tests move.

Nothing happens by itself: `round` is one round of the dispatcher, `perform` lets the handlers run that were given in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from bus import conf
from bus.consumer.dispatcher import Dispatcher, Revocation
from bus.consumer.pool import Job, Pool
from bus.consumer.recorder import Recorder
from bus.consumer.work import Decoder
from bus.errors import LedgerUnavailableError, PermanentError
from bus.handlers import Function, Handler
from bus.kafka.consumer import Partition
from bus.kafka.producer import Delivered, OnDelivery
from bus.ledger import Answer, Attempt, Claim, Ledger, Settlement, Status, Verdict
from tests.unit.heard import Heard

TOPIC = "order.created"
GROUP = "billing"
P0: Partition = (TOPIC, 0)
P1: Partition = (TOPIC, 1)
WORKER = "worker"
LEASE = f"{WORKER}/{GROUP}"
LEASE_SECONDS = 30.0


@dataclass(slots=True)
class Time:
    """What time it is."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Entry:
    """A group's record of an event. `status` None: it waits for its retry, or was given back."""

    status: Status
    worker: str
    number: int
    generation: int = 0
    due: float = 0.0
    attempts: int = 0
    crashes: int = 0
    suspect: bool = False
    alone: bool = False
    history: tuple[Attempt, ...] = ()


class MemoryLedger:
    """The table of `bus.ledger`, in memory."""

    def __init__(self, clock: Time) -> None:
        self.clock = clock
        self.entries: dict[str, Entry] = {}
        self.leases: dict[str, float] = {}
        self.numbers: dict[str, int] = {}
        self.is_away = False
        self.calls: list[tuple[list[Settlement], list[Claim]]] = []

    def exchange(
        self, worker: str, number: int, settlements: Sequence[Settlement], claims: Sequence[Claim]
    ) -> tuple[list[bool], list[Answer]]:
        self.heartbeat(worker, number)
        self.calls.append((list(settlements), list(claims)))
        kept = [self._settle(worker, each) for each in settlements]
        return kept, [self._claim(worker, number, each) for each in claims]

    def heartbeat(self, worker: str, number: int) -> None:
        if self.is_away:
            raise LedgerUnavailableError("Redis is away")
        if number < self.numbers.get(worker, 0):
            raise LedgerUnavailableError("an older call")
        self.numbers[worker] = number
        self.leases[worker] = self.clock.now + LEASE_SECONDS

    def end_lease(self, worker: str) -> None:
        self.leases.pop(worker, None)

    def foreign(
        self, event_id: str, worker: str = "other", *, alive: bool, crashes: int = 0, alone: bool = False
    ) -> None:
        """Let another worker have the event."""
        self.entries[event_id] = Entry(Status.PROCESSING, worker, 1, crashes=crashes, alone=alone)
        if alive:
            self.leases[worker] = self.clock.now + LEASE_SECONDS

    def _claim(self, worker: str, number: int, claim: Claim) -> Answer:
        old = self.entries.get(claim.event_id)
        if old is None or old.generation < claim.generation:
            self.entries[claim.event_id] = Entry(Status.PROCESSING, worker, number, claim.generation, alone=claim.alone)
            return Answer(Verdict.GRANTED, number)
        if old.generation > claim.generation or old.status is Status.PROCESSED:
            return Answer(Verdict.DONE, number)
        if old.status is Status.FAILED:
            return Answer(Verdict.FAILED, number)
        if old.status is Status.RETRYING:
            if old.due > self.clock.now:
                return Answer(Verdict.WAIT, number, int((old.due - self.clock.now) * 1000), old.attempts)
        elif old.worker != worker:
            left = self.leases.get(old.worker, 0.0) - self.clock.now
            if left > 0:
                return Answer(Verdict.BUSY, number, int(left * 1000), owner=old.worker)
            old.suspect = True
            old.crashes += old.alone
        old.status, old.worker, old.number, old.alone = Status.PROCESSING, worker, number, claim.alone
        return Answer(Verdict.AGAIN, number, 0, old.attempts, old.crashes, old.suspect, old.history)

    def _settle(self, worker: str, settlement: Settlement) -> bool:
        old = self.entries.get(settlement.event_id)
        owns = old is not None and old.status is Status.PROCESSING
        owns = owns and (old.worker, old.number) == (worker, settlement.number)  # type: ignore[union-attr]
        if settlement.outcome is None:
            if owns and old is not None:
                old.status, old.due, old.alone = Status.RETRYING, self.clock.now, False
                if not (old.attempts or old.crashes or old.suspect or old.generation):
                    del self.entries[settlement.event_id]
            return True
        if old is not None and not owns and old.generation >= settlement.generation:
            if old.generation > settlement.generation or settlement.outcome is not Status.PROCESSED:
                return False
            if old.status is Status.FAILED:
                return False
        self.entries[settlement.event_id] = Entry(
            settlement.outcome,
            worker,
            settlement.number,
            settlement.generation,
            self.clock.now + settlement.delay_ms / 1000,
            settlement.attempts,
            settlement.crashes,
            history=settlement.history,
        )
        return True


@dataclass
class Sent:
    """A dead letter that was handed over; the test says what became of it."""

    topic: str
    event_id: str
    headers: dict[str, bytes | None]
    on_delivery: OnDelivery

    def acknowledge(self) -> None:
        self.on_delivery(Delivered(self.topic, 0, 0, 0))


class Outbox:
    """Takes dead letters."""

    is_broken = False

    def __init__(self) -> None:
        self.sent: list[Sent] = []

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
        self.sent.append(Sent(topic, event_id, dict(headers), on_delivery))


class PatientPool(Pool):
    """Keeps jobs until the test has them performed."""

    def __init__(self, concurrency: int, clock: Time) -> None:
        super().__init__(concurrency, clock=clock)
        self.waiting: list[Job] = []

    def submit(self, jobs: Sequence[Job]) -> None:
        self.waiting += jobs

    def keep_up(self) -> None: ...

    def next_look(self) -> float | None:
        return None


@dataclass(slots=True)
class Message:
    """A record as Kafka's client hands it out."""

    place: Partition
    at: int
    of_key: bytes | None
    content: bytes | None
    of_headers: list[tuple[str, bytes | None]] | None = None
    at_ms: int = 1_700_000_000_000

    def topic(self) -> str:
        return self.place[0]

    def partition(self) -> int:
        return self.place[1]

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return self.of_key

    def value(self) -> bytes | None:
        return self.content

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self.of_headers

    def timestamp(self) -> tuple[int, int]:
        return (1, self.at_ms)


def value_of(event_id: str, data: Any = None) -> bytes:
    """An event's record value."""
    metadata = {"eventId": event_id, "eventType": TOPIC, "timestamp": "2026-01-01T00:00:00.000Z"}
    return json.dumps({"metadata": metadata, "data": {"id": event_id} if data is None else data}).encode()


@dataclass
class Stage:
    """One dispatcher, what it leans on, and what its handler has seen."""

    dispatcher: Dispatcher
    ledger: MemoryLedger
    outbox: Outbox
    pool: PatientPool
    heard: Heard
    clock: Time
    decoder: Decoder
    handled: list[str] = field(default_factory=list)
    #: What the handler does with an event, by its id; nothing unless given.
    does: dict[str, Callable[[], object]] = field(default_factory=dict)

    def read(self, place: Partition, *events: tuple[int, str | None, str]) -> None:
        """Take in records given as (offset, key, event id)."""
        self.take_in([Message(place, at, key.encode() if key else None, value_of(name)) for at, key, name in events])

    def take_in(self, messages: Sequence[Message]) -> None:
        """Take in records."""
        self.dispatcher.take_in([self.decoder.decode(each, each.place) for each in messages])

    def round(self, times: int = 1) -> None:
        """Rounds of the dispatcher."""
        for _ in range(times):
            self.dispatcher.round()

    def perform(self) -> None:
        """Let the handlers run of all jobs that were given in so far."""
        jobs, self.pool.waiting = self.pool.waiting, []
        for job in jobs:
            job.perform(self.clock)

    def settle(self, seconds: float = 0.0) -> None:
        """Go on until nothing happens any more, then let time pass and do it again."""
        for wait in (0.0, seconds) if seconds else (0.0,):
            self.clock.now += wait
            for _ in range(50):
                self.round()
                self.perform()

    def revoke(self, *partitions: Partition) -> Revocation:
        """Begin to let go of partitions."""
        revocation = self.dispatcher.revoke(partitions)
        self.round(3)
        return revocation

    def release(self, *partitions: Partition) -> dict[Partition, int]:
        """Let go for good, as the poll thread does; there is no thread here to wait for."""
        released = self.dispatcher._release(partitions)
        self.round()
        return released

    def status(self, event_id: str) -> Status | None:
        """What the ledger says of an event."""
        entry = self.ledger.entries.get(event_id)
        return entry.status if entry else None


def stage(
    *partitions: Partition,
    function: Function | None = None,
    ledger: MemoryLedger | None = None,
    worker: str = WORKER,
    pool: PatientPool | None = None,
    exactly_once: bool = False,
    **settings: Any,
) -> Stage:
    """A dispatcher that has these partitions, and a handler that notes what it sees and does what `does` says."""
    clock = ledger.clock if ledger else Time()
    ledger = ledger or MemoryLedger(clock)
    options = {"concurrency": 2, "retry_delays": (5.0,), **settings}
    loaded = conf.load(conf.BusSettings, **options)
    pool = pool or PatientPool(loaded.concurrency, clock)
    outbox, heard = Outbox(), Heard()
    dispatcher = Dispatcher(
        GROUP,
        worker,
        ledger=cast(Ledger, ledger),
        sender=outbox,
        pool=pool,
        recorder=Recorder(GROUP, worker, heard),
        settings=loaded,
        clock=clock,
    )

    def note(data: Any, metadata: Any) -> None:
        made.handled.append(metadata.event_id)
        made.does.get(metadata.event_id, lambda: None)()

    delays = loaded.retry_delays
    handler = Handler(GROUP, (TOPIC,), function or note, delays=delays, exactly_once=exactly_once)
    made = Stage(dispatcher, ledger, outbox, pool, heard, clock, Decoder(GROUP, {TOPIC: handler}))
    made.decoder._models.clear()
    dispatcher.assign(partitions or (P0,))
    dispatcher.round()
    return made


def hang(its: Stage) -> Job:
    """Have the first event of the first job begin, and not end."""
    job = its.pool.waiting.pop(0)
    assert job._next(its.clock) is job.works[0]
    return job


def go_on(its: Stage, job: Job) -> None:
    """Let the handler that hung be done, and the next one of its job hang."""
    assert job.current is not None
    job._goes_on_after(job._executor.run(job.current))
    job._next(its.clock)


def come_back(its: Stage, job: Job) -> None:
    """Let the handler that hung be done, and the job go on."""
    assert job.current is not None
    job._goes_on_after(job._executor.run(job.current))
    job.perform(its.clock)


def events_given_in(its: Stage) -> list[str]:
    """Events that wait for a handler thread."""
    return [work.event_id for job in its.pool.waiting for work in job.works]


def fail() -> None:
    """A handler that fails."""
    raise ValueError("no")


def fail_for_good() -> None:
    """A handler that says that trying again can't help."""
    raise PermanentError("no")
