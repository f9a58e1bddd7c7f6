"""A record of a `.dlq` topic as rows of the index. Pure.

Whatever somebody wrote there becomes a row: what can't be read is left out, what is too long is cut.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import orjson

from bus import catalog, deadletters, envelope
from bus.deadletterindex.fingerprint import MAX_FRAME, Kind, kind_of
from bus.errors import EnvelopeError
from bus.kafka.consumer import Record, headers_of

MAX_KEY: Final = 255
_MAX_COUNT: Final = 2**31 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)
# PostgreSQL stores no NUL; lone surrogates can't be encoded at all.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


class Place(NamedTuple):
    """Where a dead letter's record is."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Identity(NamedTuple):
    """What makes a dead letter one, however often it was written."""

    event_id: str
    group: str
    generation: int


@dataclass(slots=True)
class LetterRow:
    """What a row of DeadLetter has from its record, by the names of its fields."""

    event_id: str
    group: str
    generation: int
    topic: str
    event_type: str
    key: str
    has_key: bool
    correlation_id: str
    reason: str
    error_type: str
    error_message: str
    fingerprint: str
    attempts: int | None
    first_failed_at: datetime
    last_failed_at: datetime
    size: int
    cluster: str
    dlq_topic: str
    dlq_partition: int
    dlq_offset: int
    replayed_times: int
    failed_again_times: int
    indexed_at: datetime


class PayloadRow(NamedTuple):
    """What a row of DeadLetterPayload has from its record."""

    value: bytes | None
    key: bytes | None
    headers: bytes


@dataclass(slots=True)
class Entry:
    """A record, ready for the index: its rows, and the kind of its failure."""

    identity: Identity
    place: Place
    letter: LetterRow
    payload: PayloadRow
    kind: Kind
    is_handled_again: bool = False
    """It failed in a later epoch of its group, which was told to handle again what it had handled."""


def entry_of(record: Record, cluster: str, now: datetime) -> Entry:
    """What the index keeps of a record."""
    place = Place(record.topic(), record.partition(), record.offset())
    headers = headers_of(record)
    read = deadletters.read(record.value(), record.key(), headers, place.topic)
    message = storable(read.error_message, 1000)
    kind = kind_of(storable(read.error_type, 255), message, read.stack_trace or "")
    if (frame := storable(kind.frame, MAX_FRAME)) != kind.frame:
        kind = kind._replace(frame=frame)
    event_id = read.event_id or envelope.derived_event_id(*place)
    last = _time(record.timestamp()[1] if read.last_attempt_at_ms is None else read.last_attempt_at_ms) or now
    first = _time(read.first_failed_at_ms) or last
    identity = Identity(short_id(event_id), storable(read.group, 249), read.generation)
    letter = LetterRow(
        *identity,
        topic=storable(place.topic.removesuffix(catalog.DEAD_LETTER_SUFFIX), 249),
        event_type=storable(read.event_type, 249),
        key=key_text(read.key),
        has_key=read.key is not None,
        correlation_id=storable(_correlation(read), 255),
        reason=read.reason or "",
        error_type=kind.error_type,
        error_message=message,
        fingerprint=kind.fingerprint,
        attempts=read.attempts,
        first_failed_at=min(first, last),
        last_failed_at=last,
        size=len(record.value() or b""),
        cluster=cluster,
        dlq_topic=place.topic,
        dlq_partition=place.partition,
        dlq_offset=place.offset,
        # A dead letter of generation n is one of an event that was replayed n times, and failed again each time.
        replayed_times=min(read.generation, _MAX_COUNT),
        failed_again_times=min(read.generation, _MAX_COUNT),
        indexed_at=now,
    )
    payload = PayloadRow(record.value(), record.key(), pack_headers(headers))
    return Entry(identity, place, letter, payload, kind, deadletters.EPOCH in dict(headers))


def storable(text: str | None, limit: int) -> str:
    """Text that every database takes, cut to `limit` characters."""
    if not text:
        return ""
    if text.isascii() and "\0" not in text:
        return text[:limit]
    return _UNSTORABLE.sub("\ufffd", text)[:limit]


def short_id(event_id: str) -> str:
    """The event id as the index keeps it: a foreign one that is too long is cut, and stays unlike all others."""
    text = storable(event_id, len(event_id))
    if len(text) <= envelope.MAX_EVENT_ID:
        return text
    digest = hashlib.sha256(event_id.encode(errors="replace")).hexdigest()[:32]
    return f"{text[: envelope.MAX_EVENT_ID - 33]}…{digest}"


def key_text(key: bytes | None) -> str:
    """A key as it is shown and searched."""
    return storable((key or b"").decode(errors="replace"), MAX_KEY)


def pack_headers(headers: deadletters.HeaderSequence) -> bytes:
    """Headers as the payload keeps them."""
    # Each byte as the character of its number: any bytes come back as they were.
    pairs = [(name, None if value is None else value.decode("latin-1")) for name, value in headers]
    try:
        return orjson.dumps(pairs)
    except orjson.JSONEncodeError:  # lone surrogates
        return orjson.dumps([(name.encode(errors="replace").decode(), value) for name, value in pairs])


def unpack_headers(packed: bytes) -> list[tuple[str, bytes | None]]:
    """The same back."""
    return [(name, None if value is None else value.encode("latin-1")) for name, value in orjson.loads(packed)]


def _correlation(read: deadletters.DeadLetter) -> str | None:
    found = next((value for name, value in reversed(read.headers) if name == envelope.CORRELATION_ID), None)
    if found is not None:
        return found.decode(errors="replace")
    try:
        metadata = envelope.parse(read.value)["metadata"]
        claimed = metadata["correlationId"]
    except (EnvelopeError, KeyError, TypeError, IndexError):
        return None
    return claimed if isinstance(claimed, str) else None


def _time(at_ms: int | None) -> datetime | None:
    if at_ms is None or at_ms < 0:
        return None
    try:
        return min(_EPOCH + timedelta(milliseconds=at_ms), _LATEST)
    except OverflowError:
        return None
