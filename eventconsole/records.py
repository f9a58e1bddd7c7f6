"""Opens single records for people, on threads of its own and within seconds: a Kafka that hangs holds up no page.

Never for lists: they show what the ledger and the database know.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

from bus import conf
from bus.errors import BrokerUnavailableError
from bus.kafka.consumer import Record, headers_of
from bus.kafka.reader import RecordReader

SECONDS: Final = 5.0
_THREADS: Final = 2
# Waiting for longer than this many others would end without an answer anyway.
_MOST_WAITING: Final = 20


@dataclass(frozen=True, slots=True)
class OpenedRecord:
    """A record as Kafka has it. `timestamp_ms` is Kafka's, None when it has none."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp_ms: int | None

    @property
    def place(self) -> str:
        """`topic[partition]@offset`."""
        return f"{self.topic}[{self.partition}]@{self.offset}"

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return len(self.value or b"")


class Reader(Protocol):
    """What is needed of `bus.kafka.reader.RecordReader`."""

    def read_at(self, topic: str, partition: int, offset: int, timeout: float = ...) -> Record | None: ...
    def close(self) -> None: ...


class RecordDesk:
    """Reads records at places. Safe to use from several threads; each of its own has one reader."""

    def __init__(
        self, open_reader: Callable[[], Reader] = lambda: RecordReader(name="console"), seconds: float = SECONDS
    ) -> None:
        self._open_reader = open_reader
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="console-records")
        self._mine = threading.local()
        self._waiting = threading.Semaphore(_MOST_WAITING)

    def read(self, topic: str, partition: int, offset: int) -> OpenedRecord | None:
        """The record at that place, None when Kafka has none there (any more).

        Raises BrokerUnavailableError when Kafka can't be reached, or gives no answer in time.
        """
        if not self._waiting.acquire(blocking=False):
            raise BrokerUnavailableError("too many records are being opened just now; try again in a few seconds")
        asked: Future[OpenedRecord | None] = self._pool.submit(self._read, topic, partition, offset)
        asked.add_done_callback(lambda _: self._waiting.release())
        try:
            return asked.result(self._seconds)
        except TimeoutError:
            asked.cancel()
            raise BrokerUnavailableError(f"Kafka gave no answer within {self._seconds:g} s") from None

    def close(self) -> None:
        """Let no more be read; what is being read isn't waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, topic: str, partition: int, offset: int) -> OpenedRecord | None:
        reader: Reader | None = getattr(self._mine, "reader", None)
        if reader is None:
            reader = self._mine.reader = self._open_reader()
        try:
            record = reader.read_at(topic, partition, offset, self._seconds - 0.2)
        except BrokerUnavailableError:
            # A new one next time: this one may ask a broker that isn't there any more, forever.
            self._mine.reader = None
            reader.close()
            raise
        return None if record is None else _opened(record)


def _opened(record: Any) -> OpenedRecord:
    kind, at_ms = record.timestamp()
    value, key = record.value(), record.key()
    return OpenedRecord(
        record.topic(),
        record.partition(),
        record.offset(),
        key,
        value,
        tuple(headers_of(record)),
        at_ms if kind and at_ms >= 0 else None,
    )


_current: tuple[conf.BusSettings, RecordDesk] | None = None


def desk() -> RecordDesk:
    """The desk of this process."""
    global _current
    settings, found = conf.current(), _current
    if found is None or found[0] is not settings:
        _current = found = settings, RecordDesk(lambda: RecordReader(settings, "console"))
    return found[1]
