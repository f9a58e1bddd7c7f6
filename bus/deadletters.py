"""Dead letters: what is written to `<topic>.dlq` when an event's attempts are used up, and what can be read from it.

Pure: bytes and headers in, bytes and headers out.

The record's value is the original one with the specification's `error` member spliced in before its last brace.
`dlq-splice: start,length` says where, so the original comes out again byte for byte: signatures, number formats and
member order survive. A value that isn't a JSON object, or has an `error` of its own, stays as it is; then the headers
alone say what happened. All headers of ours begin with `dlq-`; the original ones are kept in their order before them.

A replayed event that fails again keeps the origin it had at first, and goes to the origin's `.dlq`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from bus import catalog, envelope
from bus.envelope import Headers
from bus.errors import BusError
from bus.splice import cut, cut_middle, cut_out, members, splice

HeaderSequence = Sequence[tuple[str, bytes | None]]

PREFIX: Final = "dlq-"
GROUP: Final = "dlq-group"
REASON: Final = "dlq-reason"
ATTEMPTS: Final = "dlq-attempts"
ERROR_TYPE: Final = "dlq-error-type"
ERROR_MESSAGE: Final = "dlq-error-message"
STACK_TRACE: Final = "dlq-stack-trace"  # only where the value can't carry it
TOPIC: Final = "dlq-topic"
PARTITION: Final = "dlq-partition"
OFFSET: Final = "dlq-offset"
TIMESTAMP: Final = "dlq-timestamp"  # Kafka's time of the original record, milliseconds since 1970
FIRST_FAILED_AT: Final = "dlq-first-failed-at"
LAST_ATTEMPT_AT: Final = "dlq-last-attempt-at"
GENERATION: Final = "dlq-generation"  # 0 for an event, 1 for its first replay, …
EPOCH: Final = "dlq-epoch"  # of the group, in another than its first: there it handles events again
EVENT_ID: Final = "dlq-event-id"  # the id that the bus knows the event by, which may be derived
SPLICE: Final = "dlq-splice"
VALUE: Final = "dlq-value"
HEADERS: Final = "dlq-headers"
KEY: Final = "dlq-key"
AT_ORIGIN: Final = b"at-origin"
"""What `dlq-value`, `dlq-headers` or `dlq-key` says when the part was too large and is only at the origin."""

_PARTS: Final = (("value", VALUE), ("headers", HEADERS), ("key", KEY))

MAX_MESSAGE_BYTES: Final = 1000
MAX_STACK_BYTES: Final = 8000

# Upper bounds of what Kafka's record format adds: the batch around the record, its lengths, and those of a header.
_RECORD_OVERHEAD: Final = 100
_HEADER_OVERHEAD: Final = 10
# What a dead letter of ours has; attributes of DeadLetter.
_EXPECTED: Final = ("origin", "event_id", "group", "reason", "attempts", "error_message", "last_attempt_at_ms")
_NUMBER: Final = re.compile(rb"[0-9]{1,19}")
_TOPIC_NAME: Final = re.compile(r"[a-zA-Z0-9._-]{1,245}")


class ValueAtOriginError(BusError):
    """The dead letter was too large to be written whole; read its record at the origin, then use `completed()`."""


class Reason(StrEnum):
    """Why an event became a dead letter."""

    EXHAUSTED = "exhausted"
    """Its attempts are used up."""
    PERMANENT = "permanent"
    """The handler said that trying again can't help."""
    UNDECODABLE = "undecodable"
    """The record can't be read as an event of its topic."""
    CRASH = "crash"
    """Workers died while they ran it."""


_REASONS: Final[Mapping[bytes | None, Reason]] = {reason.encode(): reason for reason in Reason}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the event was first published. `timestamp_ms` is Kafka's, -1 when it has none."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int = -1


@dataclass(frozen=True, slots=True)
class Failure:
    """What happened, in which group. Times are milliseconds since 1970; `generation` is 0 unless it was a replay."""

    group: str
    reason: Reason
    attempts: int
    error_type: str
    error_message: str
    stack_trace: str
    first_failed_at_ms: int
    last_attempt_at_ms: int
    generation: int = 0
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def size(self) -> int:
        """The most bytes that the record can take in Kafka, before compression."""
        return record_size(self.value, self.key, self.headers)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as read: the original record, and as much as is known of its failure.

    `problems` names what is missing or can't be read, for dead letters that somebody else wrote.
    """

    key: bytes | None
    value: bytes | None
    headers: Headers
    at_origin: frozenset[str]
    """Which of "value", "headers" and "key" were too large and are only at the origin."""
    origin: Origin | None
    event_id: str | None
    event_type: str | None
    group: str | None
    reason: Reason | None
    attempts: int | None
    error_type: str | None
    error_message: str | None
    stack_trace: str | None
    first_failed_at_ms: int | None
    last_attempt_at_ms: int | None
    generation: int
    problems: tuple[str, ...]

    def completed(self, value: bytes | None, key: bytes | None, headers: HeaderSequence) -> DeadLetter:
        """The same with what was left at the origin, taken from the record there."""
        return replace(
            self,
            value=value if "value" in self.at_origin else self.value,
            key=key if "key" in self.at_origin else self.key,
            headers=_without_ours(headers) if "headers" in self.at_origin else self.headers,
            at_origin=frozenset(),
        )


def record_size(value: bytes | None, key: bytes | None, headers: HeaderSequence) -> int:
    """The most bytes that a record can take in Kafka, before compression."""
    size = _RECORD_OVERHEAD + len(value or b"") + len(key or b"")
    return size + sum(_HEADER_OVERHEAD + len(name.encode()) + len(content or b"") for name, content in headers)


def origin_of(headers: HeaderSequence) -> Origin | None:
    """The origin that a replayed event or a dead letter names, or None. Believe it only on our own topics."""
    return _origin(dict(headers))


def _origin(found: Mapping[str, bytes | None]) -> Origin | None:
    topic, partition, offset = _text(found.get(TOPIC)), _number(found.get(PARTITION)), _number(found.get(OFFSET))
    if topic is None or not _TOPIC_NAME.fullmatch(topic) or partition is None or offset is None:
        return None
    at = _number(found.get(TIMESTAMP))
    return Origin(topic, partition, offset, -1 if at is None else at)


def generation_of(headers: HeaderSequence) -> int:
    """How often the event was replayed; 0 when nothing readable is said. Believe it only on our own topics."""
    return _number(dict(headers).get(GENERATION)) or 0


def build(
    value: bytes | None,
    key: bytes | None,
    headers: HeaderSequence,
    origin: Origin,
    failure: Failure,
    *,
    max_bytes: int,
    event_id: str | None = None,
) -> OutgoingRecord:
    """The dead letter of a record that was read at `origin`.

    If that was the group's `.replay` topic, the origin that the record names counts. What doesn't fit into `max_bytes`
    stays at the origin: first the value, then the original headers, then the key.
    """
    topic = origin.topic
    if topic == catalog.replay_topic(failure.group):
        origin = origin_of(headers) or origin
        topic = origin.topic if catalog.topic(origin.topic) else _topic_of_stray(topic, value, headers)
    kept, ours = _without_ours(headers), _headers_of(origin, failure, event_id)
    stack = cut_middle(failure.stack_trace, MAX_STACK_BYTES)
    topic = catalog.dead_letter_topic(topic)
    spliced = splice(value, "error", _error_of(failure, stack))
    if spliced is not None:
        value, place = spliced
        ours.append((SPLICE, place))
    else:
        ours.append((STACK_TRACE, stack))
    record = OutgoingRecord(topic, key, value, kept + ours)
    if record.size <= max_bytes:
        return record
    ours = [header for header in ours if header[0] not in (SPLICE, STACK_TRACE)]
    ours += [(STACK_TRACE, stack), (VALUE, AT_ORIGIN)]
    record = OutgoingRecord(topic, key, None, kept + ours)
    if record.size > max_bytes:
        ours.append((HEADERS, AT_ORIGIN))
        record = OutgoingRecord(topic, key, None, ours)
    if record.size > max_bytes:
        record = OutgoingRecord(topic, None, None, [*ours, (KEY, AT_ORIGIN)])
    return record


def read(value: bytes | None, key: bytes | None, headers: HeaderSequence, topic: str | None = None) -> DeadLetter:
    """What a record of the dead letter topic `topic` says. Never raises: what can't be read is named in `problems`.

    A foreign dead letter without headers is read as far as the specification's `error` member goes.
    """
    found = dict(headers)  # the last of repeated headers counts, as everywhere in Kafka
    parts = cut_out(value, "error", found[SPLICE]) if SPLICE in found else None
    problems = [f"{SPLICE} doesn't fit the value"] if SPLICE in found and parts is None else []
    value, error = parts or (value, {})
    content, origin = members(value), _origin(found)
    error, metadata = error or _object(content, "error"), _object(content, "metadata")
    at_origin = frozenset([part for part, name in _PARTS if found.get(name) == AT_ORIGIN])
    event_id = _first_text(found.get(EVENT_ID), metadata.get("eventId"), found.get(envelope.EVENT_ID))
    if event_id is None and origin is not None and not at_origin:
        event_id = envelope.derived_event_id(origin.topic, origin.partition, origin.offset)
    event_type = _first_text(metadata.get("eventType"), found.get(envelope.EVENT_TYPE))
    if event_type is None:
        event_type = (origin.topic if origin else (topic or "").removesuffix(catalog.DEAD_LETTER_SUFFIX)) or None
    dead_letter = DeadLetter(
        key=key,
        value=value,
        headers=_without_ours(headers),
        at_origin=at_origin,
        origin=origin,
        event_id=event_id,
        event_type=event_type,
        group=_first_text(found.get(GROUP)),
        reason=_REASONS.get(found.get(REASON)),
        attempts=_count(found.get(ATTEMPTS), error.get("attempts")),
        error_type=_text(found.get(ERROR_TYPE)),
        error_message=_text(found.get(ERROR_MESSAGE), error.get("message")),
        stack_trace=_text(found.get(STACK_TRACE), error.get("stackTrace")),
        first_failed_at_ms=_time(found.get(FIRST_FAILED_AT)),
        last_attempt_at_ms=_time(_first_text(found.get(LAST_ATTEMPT_AT), error.get("lastAttemptAt"))),
        generation=_number(found.get(GENERATION)) or 0,
        problems=(),
    )
    missing = [f"{_named(each)} is missing" for each in _EXPECTED if getattr(dead_letter, each) is None]
    return replace(dead_letter, problems=(*problems, *missing)) if problems or missing else dead_letter


def replay_record(dead_letter: DeadLetter) -> OutgoingRecord:
    """The record that delivers a dead letter again to the group that failed, and to no other.

    Raises ValueAtOriginError for a dead letter that wasn't written whole, ValueError for one that names no group or no
    origin: without the origin, nothing says which of the group's handlers it is for.
    """
    if dead_letter.group is None or dead_letter.origin is None:
        raise ValueError(
            "the dead letter names no group and origin; all groups of its topic would have to see it again"
        )
    original = original_record(dead_letter, catalog.replay_topic(dead_letter.group))
    generation = b"%d" % (dead_letter.generation + 1)
    return replace(
        original,
        headers=[*original.headers, *_headers_of_origin(dead_letter.origin), (GENERATION, generation)],
    )


def original_record(dead_letter: DeadLetter, topic: str) -> OutgoingRecord:
    """The event as it was, for a topic where every group sees it.

    Raises ValueAtOriginError for a dead letter that wasn't written whole.
    """
    if dead_letter.at_origin:
        missing = ", ".join(sorted(dead_letter.at_origin))
        raise ValueAtOriginError(f"too large to be kept in the dead letter: {missing}; read {dead_letter.origin} first")
    headers = list(dead_letter.headers)
    event_id = dead_letter.event_id
    if event_id is not None and dict(headers).get(envelope.EVENT_ID) != event_id.encode(errors="replace"):
        headers = [header for header in headers if header[0] != envelope.EVENT_ID]
        headers.append((envelope.EVENT_ID, event_id.encode(errors="replace")))
    return OutgoingRecord(topic, dead_letter.key, dead_letter.value, headers)


def _without_ours(headers: HeaderSequence) -> Headers:
    return [header for header in headers if not header[0].startswith(PREFIX)]


def _headers_of_origin(origin: Origin) -> Headers:
    return [
        (TOPIC, origin.topic.encode()),
        (PARTITION, b"%d" % origin.partition),
        (OFFSET, b"%d" % origin.offset),
        (TIMESTAMP, b"%d" % origin.timestamp_ms),
    ]


def _headers_of(origin: Origin, failure: Failure, event_id: str | None) -> Headers:
    headers: Headers = [
        (GROUP, failure.group.encode()),
        (REASON, failure.reason.encode()),
        (ATTEMPTS, b"%d" % failure.attempts),
        (ERROR_TYPE, cut(failure.error_type, MAX_MESSAGE_BYTES)),
        (ERROR_MESSAGE, cut(failure.error_message, MAX_MESSAGE_BYTES)),
        *_headers_of_origin(origin),
        (FIRST_FAILED_AT, envelope.timestamp(failure.first_failed_at_ms).encode()),
        (LAST_ATTEMPT_AT, envelope.timestamp(failure.last_attempt_at_ms).encode()),
        (GENERATION, b"%d" % failure.generation),
    ]
    if failure.epoch:
        headers.append((EPOCH, b"%d" % failure.epoch))
    if event_id is not None:
        headers.append((EVENT_ID, event_id.encode(errors="replace")))
    return headers


def _error_of(failure: Failure, stack: bytes) -> dict[str, Any]:
    """The specification's `error` member."""
    return {
        "message": cut(failure.error_message, MAX_MESSAGE_BYTES).decode(),
        "attempts": failure.attempts,
        "lastAttemptAt": envelope.timestamp(failure.last_attempt_at_ms),
        "stackTrace": stack.decode(),
    }


def _topic_of_stray(replay_topic: str, value: bytes | None, headers: HeaderSequence) -> str:
    """Where a dead letter belongs whose record on a `.replay` topic names no origin: somebody else wrote it."""
    found = dict(headers)
    claimed = _object(members(value), "metadata").get("eventType")
    names = (_text(found.get(TOPIC)), _text(found.get(envelope.EVENT_TYPE)), claimed)
    return next((name for name in names if isinstance(name, str) and catalog.topic(name)), replay_topic)


def _named(attribute: str) -> str:
    return "time of the failure" if attribute == "last_attempt_at_ms" else attribute.replace("_", " ")


def _object(content: dict[str, Any] | None, name: str) -> dict[str, Any]:
    found = (content or {}).get(name)
    return found if isinstance(found, dict) else {}


def _text(header: bytes | None, otherwise: object = None) -> str | None:
    if header is not None:
        return header.decode(errors="replace")
    return otherwise if isinstance(otherwise, str) else None


def _first_text(*found: object) -> str | None:
    for each in found:
        text = _text(each) if isinstance(each, bytes) else each
        if isinstance(text, str) and text:
            return text
    return None


def _number(header: bytes | None) -> int | None:
    number = int(header) if header is not None and _NUMBER.fullmatch(header) else -1
    return number if 0 <= number < 2**63 else None


def _count(header: bytes | None, otherwise: object) -> int | None:
    return _number(header if header is not None else str(otherwise).encode(errors="replace"))


def _time(found: bytes | str | None) -> int | None:
    text = _text(found) if isinstance(found, bytes) else found
    try:
        at = datetime.fromisoformat(text or "")
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
