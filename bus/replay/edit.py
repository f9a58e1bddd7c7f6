"""Edit and replay: what is sent in place of the original, checked as a publish would be, and how it differs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from bus import catalog, conf, envelope
from bus.deadletterindex.rows import pack_headers
from bus.deadletters import PREFIX, DeadLetter
from bus.envelope import EVENT_ID, MAX_KEY_BYTES, Event, Headers, Metadata
from bus.errors import EnvelopeError, EventTooLargeError, InvalidEventError
from bus.replay.records import REPLAY_OF

LOCKED: Final = (EVENT_ID, REPLAY_OF)
MAX_HEADER_BYTES: Final = 8000
_MAX_DIFF: Final = 200


class Same:
    """What isn't to be changed."""


SAME: Final = Same()


@dataclass(frozen=True, slots=True)
class Edit:
    """What is to be changed: `data` and `key` as a whole (a key of None takes it away), headers one by one."""

    data: Any = SAME
    key: str | Same | None = SAME
    headers: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edited:
    """An edited copy, ready to be stored, with how it differs: rows of path, before, after."""

    event_id: str
    value: bytes
    key: bytes | None
    headers: Headers
    diff: list[dict[str, Any]]

    def fields(self) -> dict[str, Any]:
        """As `bus.models.ReplayEdit` keeps it."""
        return {
            "event_id": self.event_id,
            "value": self.value,
            "key": self.key,
            "headers": pack_headers(self.headers),
            "diff": self.diff,
        }


def edited(letter: DeadLetter, topic: str, edit: Edit, event_id: str, max_bytes: int | None = None) -> Edited:
    """The copy of a dead letter of `topic` with these changes, as an event of its own.

    Raises InvalidEventError that names the field which is locked, or doesn't fit the topic's model.
    """
    event, before = _event(letter, topic, edit, event_id)
    _check(topic, event.data)
    value = envelope.encode(event)
    limit = max_bytes or conf.current().max_event_bytes
    if len(value) > limit:
        raise EventTooLargeError("data", f"the event has {len(value)} bytes, allowed are {limit} (BUS_MAX_EVENT_BYTES)")
    key = letter.key if isinstance(edit.key, Same) else _key(edit.key)
    headers = _headers(letter.headers, edit.headers)
    diff = list(_differences("data", before, event.data))
    if key != letter.key:
        diff.append({"path": "key", "before": _shown(letter.key), "after": _shown(key)})
    old, new = dict(letter.headers), dict(headers)
    for name in sorted(edit.headers):
        if old.get(name) != new.get(name) or (name in old) != (name in new):
            diff.append({"path": f"headers.{name}", "before": _shown(old.get(name)), "after": _shown(new.get(name))})
    if not diff:
        raise InvalidEventError("edit", "nothing differs from the original: replay it as it is")
    return Edited(event_id, value, key, headers, diff[:_MAX_DIFF])


def _event(letter: DeadLetter, topic: str, edit: Edit, event_id: str) -> tuple[Event, Any]:
    try:
        original = envelope.decode(letter.value)
    except EnvelopeError as problem:
        if edit.data is SAME:
            raise InvalidEventError(
                "edit.data", f"the original can't be read ({problem}): give the data anew"
            ) from None
        at_ms = letter.origin.timestamp_ms if letter.origin else -1
        metadata = Metadata(event_id, letter.event_type or topic, envelope.timestamp(max(at_ms, 0)))
        return Event(metadata, edit.data), None
    data = original.data if edit.data is SAME else edit.data
    return Event(original.metadata._replace(event_id=event_id), data), original.data


def _check(topic: str, data: Any) -> None:
    envelope.refuse_non_finite(data, "edit.data")
    known = catalog.topic(topic)
    if known is None or known.model is None:
        return
    try:
        known.model.model_validate(data)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
        raise InvalidEventError(f"edit.data{name}", f"{detail['msg']} (schema of {topic})") from None


def _key(key: str | None) -> bytes | None:
    if key is None:
        return None
    encoded = key.encode(errors="replace")
    if len(encoded) > MAX_KEY_BYTES:
        raise InvalidEventError("edit.key", f"has {len(encoded)} bytes in UTF-8, allowed are {MAX_KEY_BYTES}")
    return encoded


def _headers(original: Headers, wanted: Mapping[str, str | None]) -> Headers:
    for name, value in wanted.items():
        if name in LOCKED or name.startswith(PREFIX):
            raise InvalidEventError(
                f"edit.headers.{name}", f"is locked, as are {', '.join(LOCKED)} and all that begin with {PREFIX}"
            )
        if not name or len(name) > 200 or not name.isprintable():
            raise InvalidEventError("edit.headers", f"{name!a:.60} is no name: 1 to 200 printable characters")
        if value is not None and len(value.encode(errors="replace")) > MAX_HEADER_BYTES:
            raise InvalidEventError(f"edit.headers.{name}", f"allowed are {MAX_HEADER_BYTES} bytes")
    kept = [(name, value) for name, value in original if name not in wanted and name != EVENT_ID]
    given = [(name, value.encode(errors="replace")) for name, value in wanted.items() if value is not None]
    return [*kept, *given]


def _differences(path: str, before: Any, after: Any) -> Any:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            yield from _differences(f"{path}.{name}", before.get(name), after.get(name))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{path}[{index}]", old, new)
    elif before != after or type(before) is not type(after):
        yield {"path": path, "before": before, "after": after}


def _shown(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")
