"""From what a caller gives to what is sent: checked, encoded, and refused with the name of the field that is wrong."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel, ValidationError

from bus import catalog, envelope
from bus.catalog import Priority, Topic
from bus.envelope import Event, Headers, Metadata
from bus.errors import EnvelopeError, EventTooLargeError, InvalidEventError, UnknownTopicError

_PRIORITIES = frozenset(Priority)
# Control characters, lone surrogates, line and paragraph separators: they would break lines of logs and headers.
_NOT_IN_A_LABEL = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_SHOWN_PROBLEMS = 5
_NULL = b"null"
# Dates, data classes and subclasses take the slower path: what consumers read of them differs from what was given.
_PLAIN = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS


@dataclass(frozen=True, slots=True)
class EventInput:
    """One event of a batch. What is None is taken from the options of the batch, or is the default.

    `key` orders: events of a topic with the same key are handled in the order in which they were published.
    """

    data: Any
    key: str | None = None
    event_id: str | None = None
    priority: str | None = None
    source: str | None = None
    correlation_id: str | None = None
    user_id: str | None = None
    version: str | None = None


FIELDS = frozenset(each.name for each in fields(EventInput))


#: What the metadata says beside id, type and time: priority, source, correlation id, user id, version.
Labels = tuple[str, str | None, str | None, str | None, str]
NO_LABELS: Labels = (Priority.NORMAL, None, None, None, "1.0.0")
_LABEL_FIELDS = frozenset({"priority", "source", "correlation_id", "user_id", "version"})


class Draft(NamedTuple):
    """An event that is ready to be sent; `position` is its place in the caller's list."""

    position: int
    event_id: str
    value: bytes
    key: bytes | None
    headers: Headers
    correlation_id: str | None


class _Frame(NamedTuple):
    """The record around id and data. It is the same for all events that carry the same labels."""

    before_data: bytes
    headers: Headers


class Drafter:
    """Makes the drafts of one call: they share topic, time and publisher."""

    def __init__(
        self, topic: str, *, at_ms: int, published_by: str, traceparent: str | None, max_event_bytes: int
    ) -> None:
        """Raises UnknownTopicError, and InvalidEventError for a `published_by` that no header can hold.

        A malformed `traceparent` is left out, as its specification asks.
        """
        found = _published_on(topic)
        if found is None:
            raise _unknown_topic(topic)
        _check_label("published_by", published_by)
        self.topic = topic
        self.published_by = published_by
        self.at_ms = at_ms
        self._timestamp = envelope.timestamp(at_ms)
        self._traceparent = traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None
        self._model = found.model
        self._max_bytes = max_event_bytes
        self._frames: dict[Labels, _Frame] = {}

    def draft(
        self, position: int, data: Any, key: str | None, given_id: str | None, fresh_id: str, labels: Labels
    ) -> Draft:
        """Check and encode one event. Raises InvalidEventError, and EventTooLargeError."""
        try:
            frame = self._frames.get(labels) or self._frame(labels)
        except TypeError:  # something unhashable where a text belongs
            _check_labels(labels)
            raise
        if given_id is None:
            event_id, id_bytes = fresh_id, fresh_id.encode()
            id_json = b'"%b"' % id_bytes
        else:
            event_id, id_bytes = given_id, _check_event_id(given_id)
            id_json = orjson.dumps(given_id)
        try:
            data_json = orjson.dumps(data, None, _PLAIN)
        except TypeError:
            value = self._encode_exactly(event_id, labels, data)
        else:
            # orjson writes NaN and infinity as null, which would change the data silently.
            if _NULL in data_json:
                envelope.refuse_non_finite(data, "data")
            if self._model is not None:
                _check_plain(self._model, data, data_json)
            value = b'{"metadata":{"eventId":%b%b%b}' % (id_json, frame.before_data, data_json)
        if len(value) > self._max_bytes:
            raise EventTooLargeError(
                "data", f"the event has {len(value)} bytes, allowed are {self._max_bytes} (BUS_MAX_EVENT_BYTES)"
            )
        headers: Headers = [(envelope.EVENT_ID, id_bytes), *frame.headers]
        return Draft(position, event_id, value, None if key is None else _check_key(key), headers, labels[2])

    def _frame(self, labels: Labels) -> _Frame:
        _check_labels(labels)
        event = Event(self._metadata("", labels), None)
        whole = envelope.encode(event)
        headers = envelope.headers_of(event, self.published_by, self._traceparent)
        frame = _Frame(
            whole.removeprefix(b'{"metadata":{"eventId":""').removesuffix(b"null}"),
            [header for header in headers if header[0] != envelope.EVENT_ID],
        )
        self._frames[labels] = frame
        return frame

    def _metadata(self, event_id: str, labels: Labels) -> Metadata:
        priority, source, correlation_id, user_id, version = labels
        return Metadata(event_id, self.topic, self._timestamp, version, str(priority), source, correlation_id, user_id)

    def _encode_exactly(self, event_id: str, labels: Labels, data: Any) -> bytes:
        """Encode dates and the like, numbers beyond 64 bits, deep nesting; refuse what is no JSON at all."""
        value = envelope.encode(Event(self._metadata(event_id, labels), data))
        try:
            decoded = envelope.decode(value).data
        except EnvelopeError as error:
            # Nobody could read it: it would be a dead letter in every group.
            raise InvalidEventError("data", f"couldn't be read back: {error}") from None
        if self._model is not None:
            _validate(self._model, decoded)
        return value


def fresh_event_ids(count: int) -> list[str]:
    """Random UUIDs (version 4), made together because that is several times faster."""
    digits = os.urandom(16 * count).hex()
    made = []
    for at in range(0, 32 * count, 32):
        variant = "89ab"[int(digits[at + 16], 16) & 3]
        made.append(
            f"{digits[at : at + 8]}-{digits[at + 8 : at + 12]}-4{digits[at + 13 : at + 16]}-"
            f"{variant}{digits[at + 17 : at + 20]}-{digits[at + 20 : at + 32]}"
        )
    return made


def labels_of(given: Mapping[str, Any], defaults: Labels = NO_LABELS) -> Labels:
    """The labels among what a caller gave; what is missing or None is the default's."""
    if _LABEL_FIELDS.isdisjoint(given):
        return defaults
    get = given.get
    priority, source, correlation_id = get("priority"), get("source"), get("correlation_id")
    user_id, version = get("user_id"), get("version")
    return (
        defaults[0] if priority is None else priority,
        defaults[1] if source is None else source,
        defaults[2] if correlation_id is None else correlation_id,
        defaults[3] if user_id is None else user_id,
        defaults[4] if version is None else version,
    )


def _published_on(topic: object) -> Topic | None:
    return catalog.topic(topic) if isinstance(topic, str) and not catalog.is_reserved(topic) else None


def _unknown_topic(topic: object) -> UnknownTopicError:
    if not isinstance(topic, str):
        return UnknownTopicError("topic", f"{topic!r:.60} given, allowed is the name of a topic")
    if catalog.is_reserved(topic):
        return UnknownTopicError(
            "topic", f"{topic!r:.220} is written by the bus alone; publish on the topic whose name has no such ending"
        )
    close = difflib.get_close_matches(topic[:200], catalog.topics(), n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "the catalog has the topics that are allowed"
    return UnknownTopicError("topic", f"{topic!r:.220} is not in the catalog; {hint}")


def _check_labels(labels: Labels) -> None:
    given: tuple[object, ...] = labels
    priority, source, correlation_id, user_id, version = given
    if not isinstance(priority, str) or priority not in _PRIORITIES:
        raise InvalidEventError("priority", f"{priority!r:.60} given, allowed are {', '.join(Priority)}")
    _check_label("version", version)
    if version == "":
        raise InvalidEventError("version", "is empty, allowed is a text such as 1.0.0")
    for name, label in (("source", source), ("correlationId", correlation_id), ("userId", user_id)):
        if label is not None:
            _check_label(name, label)


def _check_label(name: str, label: object) -> None:
    if not isinstance(label, str):
        raise InvalidEventError(name, f"{label!r:.60} given, allowed is a text")
    if len(label) > envelope.MAX_LABEL:
        raise InvalidEventError(name, f"{len(label)} characters given, allowed are {envelope.MAX_LABEL}")
    if not label.isprintable():
        for at, character in enumerate(label):
            if unicodedata.category(character) in _NOT_IN_A_LABEL:
                raise InvalidEventError(
                    name,
                    f"character {at + 1} is {character!a}; control characters, line breaks and lone surrogates are "
                    "not allowed",
                )


def _check_event_id(event_id: object) -> bytes:
    if not isinstance(event_id, str) or not 1 <= len(event_id) <= envelope.MAX_EVENT_ID or not event_id.isprintable():
        raise InvalidEventError(
            "eventId", f"{event_id!a:.60} given, allowed are 1 to {envelope.MAX_EVENT_ID} printable characters"
        )
    return event_id.encode()


def _check_key(key: object) -> bytes:
    if not isinstance(key, str):
        raise InvalidEventError("key", f"{key!r:.60} given, allowed is a text")
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise InvalidEventError("key", "holds a lone surrogate, which is no Unicode text") from None
    if len(encoded) > envelope.MAX_KEY_BYTES:
        raise InvalidEventError("key", f"has {len(encoded)} bytes in UTF-8, allowed are {envelope.MAX_KEY_BYTES}")
    return encoded


def _check_plain(model: type[BaseModel], data: object, data_json: bytes) -> None:
    try:
        model.__pydantic_validator__.validate_python(data)
    except (ValidationError, RecursionError):
        # The last word has what consumers will read: a UUID among the data is a text by then.
        try:
            decoded = envelope.parse(data_json)
        except EnvelopeError as error:
            raise InvalidEventError("data", f"couldn't be read back: {error}") from None
        _validate(model, decoded)


def _validate(model: type[BaseModel], data: object) -> None:
    try:
        model.__pydantic_validator__.validate_python(data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        first = _path(problems[0]["loc"])
        others = [f"{_path(each['loc'])}: {each['msg']}" for each in problems[1:_SHOWN_PROBLEMS]]
        raise InvalidEventError(first, "; ".join([problems[0]["msg"], *others])) from None
    except RecursionError:
        raise InvalidEventError("data", "is nested too deeply") from None


def _path(location: tuple[int | str, ...]) -> str:
    return "data" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
