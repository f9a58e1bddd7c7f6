"""A JSON member put into an object's bytes, and cut out again byte for byte.

Nothing else of the value changes: number formats, member order, white space and what a signature was made of survive.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from bus.envelope import parse
from bus.errors import EnvelopeError

_JSON_WHITESPACE: Final = b" \t\r\n"
_PLACE: Final = re.compile(rb"([0-9]{1,10}),([0-9]{1,10})")


def members(value: bytes | None) -> dict[str, Any] | None:
    """The members of a JSON object, or None for anything else."""
    try:
        found = parse(value)
    except EnvelopeError:
        return None
    return found if isinstance(found, dict) else None


def splice(value: bytes | None, name: str, member: dict[str, Any]) -> tuple[bytes, bytes] | None:
    """The value with one more member before its last brace, and the place `start,length` to cut it out at.

    None for a value that isn't a JSON object in UTF-8, or has a member of that name already.
    """
    if not value:
        return None
    start = len(value.rstrip(_JSON_WHITESPACE)) - 1
    if value[start : start + 1] != b"}":
        return None
    present = members(value)
    if present is None or name in present:
        return None
    inserted = (b"," if present else b"") + orjson.dumps(name) + b":" + orjson.dumps(member)
    return value[:start] + inserted + value[start:], b"%d,%d" % (start, len(inserted))


def cut_out(value: bytes | None, name: str, place: bytes | None) -> tuple[bytes, dict[str, Any]] | None:
    """What `splice` was given: the value before, and the member. None when the place doesn't fit the value."""
    fits = _PLACE.fullmatch(place or b"")
    if value is None or fits is None:
        return None
    start, end = int(fits[1]), int(fits[1]) + int(fits[2])
    inserted = members(b"{" + value[start:end].removeprefix(b",") + b"}")
    if value[end : end + 1] != b"}" or inserted is None or list(inserted) != [name]:
        return None
    return (value[:start] + value[end:], inserted[name]) if isinstance(inserted[name], dict) else None


def cut(text: str, limit: int) -> bytes:
    """UTF-8 of at most `limit` bytes that ends with a whole character; `…` stands for what is cut off."""
    encoded = text.encode(errors="backslashreplace")
    if len(encoded) <= limit:
        return encoded
    mark = "…".encode()
    return encoded[: limit - len(mark)].decode(errors="ignore").encode() + mark


def cut_middle(text: str, limit: int) -> bytes:
    """The same, cut in the middle: of a stack, the begin and the end tell most."""
    encoded = text.encode(errors="backslashreplace")
    if len(encoded) <= limit:
        return encoded
    mark = "\n…\n".encode()
    half = (limit - len(mark)) // 2
    begin, end = encoded[:half].decode(errors="ignore"), encoded[-half:].decode(errors="ignore")
    return begin.encode() + mark + end.encode()
