"""Looks into a topic, page by page: from its newest records backwards, or forward from an offset or a time.

Each look is bounded in records and in seconds, and says what it cost and where the next one begins. So whoever looks
for something in a large topic sees how far they are, and stops by not asking again.
"""

from __future__ import annotations

import binascii
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import orjson

from bus.kafka.consumer import Partition, Record
from bus.kafka.reader import RecordReader

#: Records that one look reads at most when it searches for text, and when it doesn't.
MOST_SCANNED: Final = 5000
MOST_ROWS: Final = 200
_AT_ONCE: Final = 500
# A partition that gives nothing for so long has nothing there: compaction and transactions leave offsets without one.
_SILENCE: Final = 1.0
# The first records of a look may take longer: the broker is found, and fetches from its disk.
_PATIENCE: Final = 4.0


class Reader(Protocol):
    """What is needed of `bus.kafka.reader.RecordReader`."""

    def assign(self, places: Mapping[Partition, int]) -> None: ...
    def read(self, count: int, timeout: float) -> list[Record]: ...
    def offsets(self, partitions: Iterable[Partition], timeout: float = ...) -> dict[Partition, tuple[int, int]]: ...


class BrowseError(ValueError):
    """The look that was asked for can't be: says why, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is looked for: text in key or value (none: everything), in these partitions, so many rows at most."""

    topic: str
    partitions: Sequence[int]
    text: str = ""
    rows: int = 50


class Look(NamedTuple):
    """What was found, in the order of the looking; what it cost; and where the next look begins (None: at the end).

    `silent` are partitions that gave nothing though their offsets say that there may be something.
    """

    records: list[Record]
    scanned: int
    size: int
    seconds: float
    cursor: str | None
    silent: list[int]


class _Place(NamedTuple):
    """How far a partition is: forward from `at` to before `end`, backward from before `at` down to `end`."""

    at: int
    end: int


Places = dict[int, _Place]


class Browser:
    """Looks into topics with a reader of its own. Used by one thread."""

    def __init__(self, reader: Reader | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader: Reader = reader or RecordReader(name="browser")
        self._clock = clock

    def newest(self, wish: Wish) -> str:
        """The cursor for looking back from the end."""
        bounds = self._bounds(wish)
        return _pack("back", {p: _Place(end, first) for p, (first, end) in bounds.items() if end > first})

    def from_offsets(self, wish: Wish, offsets: Mapping[int, int] | None = None) -> str:
        """The cursor for looking forward from an offset per partition, or from the beginning."""
        wanted = offsets or {}
        places = {
            p: _Place(min(max(wanted.get(p, first), first), end), end) for p, (first, end) in self._bounds(wish).items()
        }
        return _pack("on", {p: place for p, place in places.items() if place.at < place.end})

    def look(self, wish: Wish, cursor: str, seconds: float = 1.0) -> Look:
        """The next rows. Raises BrowseError for a cursor that isn't ours, and BrokerUnavailableError."""
        direction, places = _unpack(cursor, wish.partitions)
        begun = self._clock()
        look = self._back if direction == "back" else self._on
        found, scanned, size, left, silent = look(wish, places, begun + seconds)
        took = self._clock() - begun
        return Look(found, scanned, size, took, _pack(direction, left) if left else None, silent)

    def _bounds(self, wish: Wish) -> dict[int, tuple[int, int]]:
        found = self._reader.offsets([(wish.topic, p) for p in wish.partitions])
        if not found:
            numbers = ", ".join(map(str, wish.partitions))
            raise BrowseError(f"Kafka has no topic {wish.topic}, or it has none of the partitions {numbers}")
        return {partition: bounds for (_, partition), bounds in found.items()}

    def _back(self, wish: Wish, places: Places, deadline: float) -> tuple[list[Record], int, int, Places, list[int]]:
        """Windows of each partition, the newest first; one that couldn't be read whole is left for the next look."""
        found: list[Record] = []
        scanned = size = 0
        silent: set[int] = set()
        left = dict(places)
        while left and len(found) < wish.rows and scanned < MOST_SCANNED and self._clock() < deadline:
            width = max(1, (_AT_ONCE if wish.text else wish.rows - len(found)) // len(left))
            windows = {p: _Place(max(place.at - width, place.end), place.at) for p, place in left.items()}
            records, unread, quiet = self._read(wish.topic, windows, deadline)
            whole = [record for record in records if record.partition() not in unread]
            scanned += len(records)
            size += sum(len(record.value() or b"") for record in records)
            found += sorted(filter(_wanted(wish.text), whole), key=_newest_first)
            silent |= quiet
            for p, window in windows.items():
                if p not in unread:
                    left[p] = _Place(window.at, left[p].end)
            left = {p: place for p, place in left.items() if place.at > place.end}
            if len(unread) == len(windows):
                break
        return found, scanned, size, left, sorted(silent)

    def _on(self, wish: Wish, places: Places, deadline: float) -> tuple[list[Record], int, int, Places, list[int]]:
        """Forward in all partitions at once, as Kafka hands the records out."""
        found: list[Record] = []
        scanned = size = 0
        is_wanted = _wanted(wish.text)
        left = dict(places)
        self._reader.assign({(wish.topic, p): place.at for p, place in left.items()})
        hearing = _Hearing(self._clock, deadline)
        try:
            while left and len(found) < wish.rows and scanned < MOST_SCANNED and (rest := hearing.rest()) > 0:
                # What is read is either looked at in this call, or read again by the next one.
                count = _AT_ONCE if wish.text else wish.rows - len(found)
                records = self._reader.read(count, min(rest, _SILENCE))
                if hearing.is_silent(bool(records)):
                    return found, scanned, size, {}, sorted(left)
                for record in records:
                    place = left.get(record.partition())
                    if place is None or record.offset() >= place.end:
                        left.pop(record.partition(), None)
                        continue
                    scanned += 1
                    size += len(record.value() or b"")
                    if is_wanted(record):
                        found.append(record)
                    left[record.partition()] = _Place(record.offset() + 1, place.end)
                left = {p: place for p, place in left.items() if place.at < place.end}
        finally:
            self._reader.assign({})
        return found, scanned, size, left, []

    def _read(self, topic: str, windows: Places, deadline: float) -> tuple[list[Record], set[int], set[int]]:
        """The records of windows [at, end); partitions that couldn't be read whole in time; those that fell silent."""
        left = {p: window for p, window in windows.items() if window.at < window.end}
        records: list[Record] = []
        self._reader.assign({(topic, p): window.at for p, window in left.items()})
        hearing = _Hearing(self._clock, deadline)
        try:
            while left and (rest := hearing.rest()) > 0:
                some = self._reader.read(_AT_ONCE, min(rest, _SILENCE))
                if hearing.is_silent(bool(some)):
                    return records, set(), set(left)
                for record in some:
                    window = left.get(record.partition())
                    if window is not None and record.offset() < window.end:
                        records.append(record)
                    if window is not None and record.offset() >= window.end - 1:
                        del left[record.partition()]
        finally:
            self._reader.assign({})
        return records, set(left), set()


class _Hearing:
    """How long to wait for records that may not be there."""

    def __init__(self, clock: Callable[[], float], deadline: float) -> None:
        self._clock = clock
        self._deadline = deadline
        self._begun = clock()
        self._heard_at: float | None = None

    def rest(self) -> float:
        """Seconds that are left: until something was heard a few more than asked for."""
        end = self._deadline if self._heard_at is not None else max(self._deadline, self._begun + _PATIENCE)
        return end - self._clock()

    def is_silent(self, has_heard: bool) -> bool:
        """Whether there is nothing more, now that the last read brought something or nothing."""
        now = self._clock()
        if has_heard:
            self._heard_at = now
            return False
        return now - self._begun >= _PATIENCE - 0.05 if self._heard_at is None else now - self._heard_at >= _SILENCE


def _newest_first(record: Record) -> tuple[int, int, int]:
    return -record.timestamp()[1], record.partition(), -record.offset()


def _wanted(text: str) -> Callable[[Record], bool]:
    if not text:
        return lambda record: True
    wanted = text.casefold().encode()

    def holds(record: Record) -> bool:
        # Bytes first: most records are ASCII, and decoding each would take longer than reading it.
        value, key = record.value() or b"", record.key() or b""
        return (
            wanted in value.lower()
            or wanted in key.lower()
            or text.casefold() in value.decode(errors="replace").casefold()
        )

    return holds


def _pack(direction: str, places: Places) -> str:
    rows = [[p, place.at, place.end] for p, place in sorted(places.items())]
    return urlsafe_b64encode(orjson.dumps([direction, rows])).decode().rstrip("=")


def _unpack(cursor: str, partitions: Sequence[int]) -> tuple[str, Places]:
    try:
        direction, rows = orjson.loads(urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
        places = {p: _Place(at, end) for p, at, end in rows}
    except (binascii.Error, ValueError, TypeError):
        raise BrowseError("the cursor isn't one that browsing gave out") from None
    numbers = [number for p, place in places.items() for number in (p, *place)]
    if direction not in ("back", "on") or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
        raise BrowseError("the cursor isn't one that browsing gave out")
    return direction, {p: place for p, place in places.items() if p in set(partitions)}
