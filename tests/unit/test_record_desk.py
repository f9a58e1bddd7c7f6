"""Opening single records: never longer than promised, and with a new reader after Kafka was away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bus.errors import BrokerUnavailableError
from eventconsole.records import RecordDesk
from tests.processes import wait_until


class Record:
    def __init__(self, offset: int, kind: int = 1) -> None:
        self._offset, self._kind = offset, kind

    def topic(self) -> str:
        return "order.created"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return b"{}"

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return [("event-id", b"e1")]

    def timestamp(self) -> tuple[int, int]:
        return self._kind, 1_790_000_000_000 if self._kind else -1


class Kafka:
    """Readers of it, and what they meet."""

    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.is_away = False
        self.may_answer = threading.Event()
        self.may_answer.set()

    def open(self) -> Kafka:
        self.opened += 1
        return self

    def read_at(self, topic: str, partition: int, offset: int, timeout: float = 5.0) -> Any:
        self.may_answer.wait(30)
        if self.is_away:
            raise BrokerUnavailableError("no broker at 127.0.0.1:1")
        return Record(offset, kind=offset % 2) if offset < 10 else None

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def kafka() -> Iterator[Kafka]:
    made = Kafka()
    yield made
    made.may_answer.set()


def test_a_record_is_opened_with_its_place_and_time(kafka: Kafka) -> None:
    desk = RecordDesk(kafka.open)
    record = desk.read("order.created", 3, 7)
    assert record is not None
    assert record.place == "order.created[3]@7"
    assert (record.size, record.headers, record.timestamp_ms) == (2, (("event-id", b"e1"),), 1_790_000_000_000)
    without_time = desk.read("order.created", 3, 8)
    assert without_time is not None
    assert without_time.timestamp_ms is None
    assert desk.read("order.created", 3, 10) is None
    desk.close()


def test_a_reader_is_kept_until_kafka_was_away(kafka: Kafka) -> None:
    desk = RecordDesk(kafka.open)
    for offset in range(20):
        desk.read("order.created", 3, offset)
    assert kafka.opened <= 2, "one of each thread"
    kafka.is_away = True
    with pytest.raises(BrokerUnavailableError, match="no broker"):
        desk.read("order.created", 3, 1)
    assert kafka.closed == 1
    kafka.is_away = False
    assert desk.read("order.created", 3, 1) is not None
    desk.close()


def test_a_kafka_that_hangs_is_not_waited_for(kafka: Kafka) -> None:
    kafka.may_answer.clear()
    desk = RecordDesk(kafka.open, seconds=0.05)
    for _ in range(4):
        with pytest.raises(BrokerUnavailableError, match=r"no answer within 0\.05 s"):
            desk.read("order.created", 3, 1)
    desk.close()


def test_so_many_wait_that_more_are_refused_at_once(kafka: Kafka) -> None:
    kafka.may_answer.clear()
    desk = RecordDesk(kafka.open, seconds=20)
    others = [threading.Thread(target=desk.read, args=("order.created", 3, 1), daemon=True) for _ in range(20)]
    for each in others:
        each.start()
    wait_until(lambda: desk._waiting._value == 0, 10, "all twenty to have their place")
    with pytest.raises(BrokerUnavailableError, match="too many records"):
        desk.read("order.created", 3, 1)
    kafka.may_answer.set()
    for each in others:
        each.join(10)
    assert desk.read("order.created", 3, 1) is not None
    desk.close()
