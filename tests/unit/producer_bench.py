"""A producer between a fake client and a fake ledger, which do what a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bus import conf
from bus.errors import (
    LedgerUnavailableError,
    PublishError,
    PublishInFlightError,
    PublishRefusedError,
    PublishUnknownError,
)
from bus.kafka.producer import OnReport, Record
from bus.ledger import PublishRecord
from bus.producer import EventProducer
from bus.producer.bookkeeping import Note
from bus.producer.client import Records
from tests.processes import wait_until
from tests.unit.heard import Heard


class Acknowledged(NamedTuple):
    """A delivery report, as far as the producer looks at it."""

    at: int

    def partition(self) -> int:
        return 1

    def offset(self) -> int:
        return self.at


@dataclass
class Sent:
    """A record in the hands of the client."""

    record: Record
    answer: Callable[[str | None], None]


class FakeRecords:
    """Keeps what is sent until the test answers; `room` is how much fits into the queue."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.room = 100_000
        self.after_poll: Callable[[], None] = lambda: None
        self.is_broken = False
        self.opened = 0
        self.closed: list[float] = []

    def open(self, settings: conf.BusSettings, after_poll: Callable[[], None]) -> Records:
        self.after_poll = after_poll
        self.is_broken = False
        self.opened += 1
        return self

    def send_some(self, topic: str, records: Sequence[Record], first: int, report: OnReport) -> int:
        for index in range(first, len(records)):
            if len(self.sent) >= self.room:
                return index

            def answer(error: str | None, index: int = index) -> None:
                report(index, error, None if error else Acknowledged(index))

            self.sent.append(Sent(records[index], answer))
        return len(records)

    def failure(self, error: Any, event_id: str) -> PublishError:
        return PublishRefusedError(event_id, error) if error == "refused" else PublishUnknownError(event_id, error)

    def close(self, timeout: float) -> int:
        self.closed.append(timeout)
        return 0

    def poll(self, error: str | None = None, count: int | None = None) -> None:
        """Answer what was sent, and deal with it, as the poll thread does."""
        answered, self.sent = self.sent[:count], self.sent[len(self.sent[:count]) :]
        for each in answered:
            each.answer(error)
        self.after_poll()


@dataclass
class FakeLedger:
    """A ledger of dictionaries. `away` lets every call fail."""

    claims: dict[str, str] = field(default_factory=dict)
    records: dict[str, PublishRecord] = field(default_factory=dict)
    confirmed: list[list[Note]] = field(default_factory=list)
    calls: int = 0
    away: bool = False
    on_confirm: Callable[[], None] = lambda: None

    def claim_publish(self, topic: str, event_ids: Sequence[str], token: str) -> list[PublishRecord | Exception | None]:
        self._answer()
        answers: list[PublishRecord | Exception | None] = []
        for each in event_ids:
            if each in self.records:
                answers.append(self.records[each])
            elif each in self.claims:
                answers.append(PublishInFlightError(each))
            else:
                self.claims[each] = token
                answers.append(None)
        return answers

    def confirm_publish(self, published: Sequence[Note]) -> None:
        self._answer()
        self.on_confirm()
        self.confirmed.append(list(published))
        for event_id, record, _ in published:
            self.claims.pop(event_id, None)
            self.records.setdefault(event_id, record)

    def release_publish(self, event_ids: Sequence[str], token: str) -> None:
        self._answer()
        for each in event_ids:
            if self.claims.get(each) == token:
                del self.claims[each]

    def _answer(self) -> None:
        self.calls += 1
        if self.away:
            raise LedgerUnavailableError("Redis at nowhere can't be used")


class Bench:
    """A producer between fakes, and threads that call it."""

    def __init__(self, **settings: Any) -> None:
        self.records = FakeRecords()
        self.ledger = FakeLedger()
        self.heard = Heard()
        self.now = 1000.0
        self.producer = EventProducer(
            conf.load(conf.BusSettings, **{"publish_timeout": 5, **settings}),
            ledger=self.ledger,
            activity=self.heard,
            open_records=self.records.open,
        )
        self._threads = ThreadPoolExecutor(8)

    def start(self, call: Callable[..., Any], *args: Any, sent: int = 1, **options: Any) -> Future[Any]:
        """Call in a thread, and wait until that many records are with the client."""
        future = self._threads.submit(call, *args, **options)
        wait_until(lambda: len(self.records.sent) >= sent or future.done(), 5, "records to be sent", pause=0.001)
        return future

    def close(self) -> None:
        self.records.poll("the end")
        self._threads.shutdown()
