"""The record of an event: read from Kafka at its place, within seconds, or as its dead letter has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from bus import envelope
from bus.deadletterindex.records import PayloadGoneError, record_of
from bus.deadletterindex.summaries import letters_of_event
from bus.envelope import Metadata
from bus.errors import BrokerUnavailableError, EnvelopeError
from bus.models import DeadLetter
from eventconsole.places import RecordPlace
from eventconsole.records import OpenedRecord, desk

#: Of a payload so many characters are shown at first.
SHOWN = 64_000

Read = Callable[[str, int, int], OpenedRecord | None]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a record holds, to be shown. `source` says where it was read; `all_url` answers the whole value as text."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    source: str
    all_url: str
    event_id: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is nothing to show, and what can be done."""

    heading: str
    remedy: str
    detail: str = ""
    may_try_again: bool = False


@dataclass(frozen=True, slots=True)
class ShownRecord:
    """For the template. Bytes that aren't text are shown in hexadecimal."""

    source: str
    key: str | None
    text: str | None
    size: int
    text_size: int
    is_binary: bool
    all_url: str
    labels: list[tuple[str, str]]
    headers: list[tuple[str, str | None]]
    notes: list[str] = field(default_factory=list)
    correlation_id: str = ""


def contents_of(event_id: str, place: RecordPlace | None, read: Read | None = None) -> Contents | Trouble:
    """The event's record at that place, or as its newest dead letter has it."""
    trouble = Trouble(
        "Nobody knows where its record is.",
        "Redis has forgotten its place. It may still be in its topic; look for it there by time.",
    )
    if place is not None:
        found = _from_kafka(place, read or desk().read)
        if isinstance(found, Contents):
            return found
        trouble = found
    for letter in reversed(letters_of_event(event_id) if event_id else []):
        if isinstance(found := contents_of_letter(letter), Contents):
            why = f"{trouble.heading} What you see is from its dead letter." if place is not None else ""
            return Contents(found.key, found.value, found.headers, found.source, found.all_url, found.event_id, why)
    return trouble


def _from_kafka(place: RecordPlace, read: Read) -> Contents | Trouble:
    try:
        record = read(place.topic, place.partition, place.offset)
    except BrokerUnavailableError as error:
        return Trouble(
            "Kafka is away, so its record can't be read now.",
            "What the ledger knows stays visible. Try again when Kafka is back; nothing is lost.",
            str(error),
            True,
        )
    if record is None:
        return Trouble(
            f"Kafka has no record at {place} any more.",
            "Topics keep their records for as long as their retention says; this one was deleted, or never there.",
        )
    url = f"/event-parts/value?{urlencode({'at': place.path})}"
    derived = envelope.derived_event_id(place.topic, place.partition, place.offset)
    return Contents(record.key, record.value, record.headers, f"from {place}", url, derived)


def contents_of_letter(letter: DeadLetter) -> Contents | Trouble:
    """The original record in a dead letter."""
    try:
        record = record_of(letter.pk)
    except PayloadGoneError as error:
        return Trouble(
            "Its payload was purged.", "Discarded dead letters lose their payload after a while.", str(error)
        )
    if record.value is None and "value" in record.at_origin:
        return Trouble("It was too large for its dead letter.", "Its value is only at its origin in Kafka.")
    url = f"/event-parts/value?{urlencode({'letter': letter.pk})}"
    return Contents(
        record.key, record.value, tuple(record.headers), f"from its dead letter {letter.pk}", url, letter.event_id
    )


def shown(contents: Contents, event_id: str) -> ShownRecord:
    """The record as the page shows it."""
    value = contents.value
    text, is_binary = text_of(value)
    notes = [contents.note] if contents.note else []
    metadata: Metadata | None = None
    try:
        metadata = envelope.decode(value).metadata
    except EnvelopeError as error:
        notes.append(f"It can't be read as an event: {error}.")
    headers = dict(contents.headers)
    own_id = (metadata.event_id if metadata else "") or _text(headers.get(envelope.EVENT_ID)) or contents.event_id
    if event_id and own_id and event_id not in (own_id, contents.event_id):
        notes.append(f"The record there is of another event: {own_id:.128}.")
    correlation = (metadata.correlation_id if metadata else None) or _text(headers.get(envelope.CORRELATION_ID))
    return ShownRecord(
        contents.source,
        None if contents.key is None else text_of(contents.key)[0],
        None if text is None else text[:SHOWN],
        len(value or b""),
        len((text or "").encode()),
        is_binary,
        contents.all_url if text is not None and len(text) > SHOWN else "",
        _labels(metadata),
        [(name, None if each is None else text_of(each)[0]) for name, each in contents.headers],
        notes,
        correlation,
    )


def text_of(value: bytes | None) -> tuple[str | None, bool]:
    """Bytes as text, and whether they had to be written in hexadecimal."""
    if value is None:
        return None, False
    try:
        return value.decode(), False
    except UnicodeDecodeError:
        return value.hex(" "), True


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode(errors="replace")


def _labels(metadata: Metadata | None) -> list[tuple[str, str]]:
    if metadata is None:
        return []
    given: dict[str, Any] = {
        "Priority": metadata.priority,
        "Source": metadata.source,
        "User": metadata.user_id,
        "Correlation": metadata.correlation_id,
        "Version": metadata.version,
        "Timestamp": metadata.timestamp,
    }
    return [(name, str(value)) for name, value in given.items() if value]
