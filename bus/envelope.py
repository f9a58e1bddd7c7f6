"""Event ⇄ record: what stands in a record's value and headers.

The value is the specification's JSON, `{"metadata": {...}, "data": {...}}`; headers repeat what tools need without
decoding. Numbers are exact in both directions: what JSON's 64-bit decoders would round goes through Python's own.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from bus.catalog import Priority
from bus.errors import EnvelopeError, InvalidEventError

Headers = list[tuple[str, bytes | None]]

EVENT_ID = "event-id"
EVENT_TYPE = "event-type"
CORRELATION_ID = "correlation-id"
PRIORITY = "priority"
TRACEPARENT = "traceparent"
PUBLISHED_BY = "published-by"

MAX_EVENT_ID = 128
MAX_LABEL = 200
MAX_KEY_BYTES = 1024
_PRIORITIES = frozenset(Priority)
# orjson reads integers beyond 64 bits as floats; whatever could be one takes Python's own, exact path.
_LONG_NUMBER = b"0" * 19
_DIGITS_TO_ZEROS = bytes(48 if 48 <= byte < 58 else 32 for byte in range(256))
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_TEXT_OR_NONE = frozenset((str, type(None)))
_LABELS = ("eventId", "eventType", "timestamp", "version", "priority", "source", "correlationId", "userId")


class Metadata(NamedTuple):
    """What is known of an event beside its data. `timestamp` is UTC ISO 8601 with milliseconds and `Z`."""

    event_id: str
    event_type: str
    timestamp: str
    version: str = "1.0.0"
    priority: str = Priority.NORMAL
    source: str | None = None
    correlation_id: str | None = None
    user_id: str | None = None


class Event(NamedTuple):
    """A decoded record."""

    metadata: Metadata
    data: Any


def new_event_id() -> str:
    """A random UUID (version 4)."""
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


def derived_event_id(topic: str, partition: int, offset: int) -> str:
    """The id of an event whose producer gave it none: the same at every delivery."""
    digest = hashlib.sha256(f"{topic}/{partition}/{offset}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=5))


def timestamp(at_ms: int) -> str:
    """Milliseconds since 1970 as the envelope writes time."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"


def encode(event: Event) -> bytes:
    """The value of the event's record. Raises InvalidEventError for data that JSON can't hold exactly."""
    metadata = event.metadata
    envelope = {
        "metadata": {
            "eventId": metadata.event_id,
            "eventType": metadata.event_type,
            "timestamp": metadata.timestamp,
            "version": metadata.version,
            "priority": metadata.priority,
            "source": metadata.source,
            "correlationId": metadata.correlation_id,
            "userId": metadata.user_id,
        },
        "data": event.data,
    }
    try:
        value = orjson.dumps(envelope)
    except TypeError:
        return _encode_exactly(envelope)
    if b"null" in value:  # orjson writes NaN and infinity as null, which would change the data silently
        refuse_non_finite(event.data, "data")
    return value


def _encode_exactly(envelope: dict[str, Any]) -> bytes:
    try:
        value = json.dumps(envelope, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise InvalidEventError("data", "holds a lone surrogate, which is no Unicode text") from None
    except RecursionError:
        raise InvalidEventError("data", "is nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise InvalidEventError("data", f"{error}; allowed is what JSON can hold") from None
    _refuse_other_keys(envelope["data"], "data")  # Python's JSON makes text of them: 1 and "1" would become one member
    return value


def _refuse_other_keys(value: object, path: str) -> None:
    stack: list[tuple[object, str]] = [(value, path)]
    while stack:
        item, where = stack.pop()
        if isinstance(item, Mapping):
            for key, inner in item.items():
                if not isinstance(key, str):
                    raise InvalidEventError(where, f"the key {key!r:.60} is a {type(key).__name__}, allowed is text")
                stack.append((inner, f"{where}.{key}"))
        elif isinstance(item, list | tuple):
            stack.extend((inner, f"{where}[{index}]") for index, inner in enumerate(item))


def refuse_non_finite(value: object, path: str) -> None:
    """Raise InvalidEventError where `value` holds NaN or an infinity."""
    stack: list[tuple[object, str]] = [(value, path)]
    while stack:
        item, where = stack.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise InvalidEventError(where, f"{item} is not a number that JSON can hold")
        if isinstance(item, Mapping):
            stack.extend((inner, f"{where}.{key}") for key, inner in item.items())
        elif isinstance(item, list | tuple):
            stack.extend((inner, f"{where}[{index}]") for index, inner in enumerate(item))


def decode(value: bytes | None) -> Event:
    """The event in a record's value.

    A foreign event may lack an id, a time or a type; they are empty then, for the caller to fill in from the record.
    Raises EnvelopeError that says where the value departs from the envelope.
    """
    envelope = parse(value)
    if not isinstance(envelope, dict):
        raise EnvelopeError(f"the value is a JSON {_kind(envelope)}, not an object with metadata and data")
    found = envelope.get("metadata")
    if not isinstance(found, dict):
        raise EnvelopeError("the value has no metadata" if found is None else f"metadata is a {_kind(found)}")
    if "data" not in envelope:
        raise EnvelopeError("the value has no data")
    get = found.get
    metadata = Metadata(
        get("eventId") or "",
        get("eventType") or "",
        get("timestamp") or "",
        get("version") or "1.0.0",
        get("priority") or "normal",
        get("source"),
        get("correlationId"),
        get("userId"),
    )
    _check_metadata(metadata, found)
    return Event(metadata, envelope["data"])


def parse(value: bytes | None) -> Any:
    """JSON, exactly. Raises EnvelopeError for anything else."""
    if value is None:
        raise EnvelopeError("the value is null")
    try:
        if _LONG_NUMBER in value.translate(_DIGITS_TO_ZEROS):
            return _parse_exactly(value)
        return orjson.loads(value)
    except RecursionError:
        raise EnvelopeError("the value is nested too deeply") from None
    except ValueError as error:
        raise EnvelopeError(f"the value is not JSON: {error}") from None


def _parse_exactly(value: bytes) -> Any:
    """As strict as orjson: only UTF-8 without a byte order mark, only finite numbers, no lone surrogates."""
    found = json.loads(value.decode(), parse_constant=_refuse_constant, parse_float=_finite)
    if _SURROGATE.search(value):
        json.dumps(found, ensure_ascii=False).encode()
    return found


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(number: str) -> float:
    found = float(number)
    if math.isinf(found):
        raise ValueError(f"{number:.40} is too large for a floating-point number")
    return found


def _check_metadata(metadata: Metadata, found: dict[str, Any]) -> None:
    # One look at all of them, because every event comes by here; which one it was is asked when it matters.
    if not _TEXT_OR_NONE.issuperset(map(type, found.values())):
        for name in _LABELS:
            label = found.get(name)
            if label is not None and type(label) is not str:
                raise EnvelopeError(f"metadata.{name} is a {_kind(label)}, not text")
    event_id = metadata.event_id
    if len(event_id) > MAX_EVENT_ID or not event_id.isprintable():
        raise EnvelopeError(f"metadata.eventId is not 1 to {MAX_EVENT_ID} printable characters")
    if metadata.priority not in _PRIORITIES:
        raise EnvelopeError(f"metadata.priority is {metadata.priority!r:.60}, allowed are {', '.join(Priority)}")


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def headers_of(event: Event, published_by: str, traceparent: str | None = None) -> Headers:
    """The headers of the event's record."""
    metadata = event.metadata
    headers: Headers = [
        (EVENT_ID, metadata.event_id.encode()),
        (EVENT_TYPE, metadata.event_type.encode()),
        (PRIORITY, metadata.priority.encode()),
        (PUBLISHED_BY, published_by.encode()),
    ]
    if metadata.correlation_id is not None:
        headers.append((CORRELATION_ID, metadata.correlation_id.encode()))
    if traceparent is not None:
        headers.append((TRACEPARENT, traceparent.encode()))
    return headers
