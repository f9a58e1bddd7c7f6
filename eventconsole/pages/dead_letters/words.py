"""What others wrote, made fit to be shown: bytes as text, data as indented JSON, stack traces as frames."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from bus import envelope
from bus.errors import EnvelopeError

_FRAME: Final = re.compile(r'^\s*File "(.+)", line (\d+)(?:, in (.+))?$')
_FOREIGN: Final = re.compile(r"/(?:site-packages|dist-packages|lib/python[0-9.]+)/|/bus/consumer/|^<")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a stack trace. `kind`: own for a frame of the project's code, foreign for one of a library, code for
    what stands under a frame, and text for all else.
    """

    kind: str
    text: str


def lines_of(stack_trace: str | None) -> Sequence[Line]:
    """A Python stack trace line by line; other text comes out as text."""
    lines: list[Line] = []
    for text in (stack_trace or "").splitlines():
        if frame := _FRAME.match(text):
            lines.append(Line("foreign" if _FOREIGN.search(frame[1]) else "own", text))
        elif lines and lines[-1].kind in ("own", "foreign", "code") and text.startswith("    "):
            lines.append(Line("code", text))
        else:
            lines.append(Line("text", text))
    return lines


def shown(value: bytes | None) -> str | None:
    """Bytes as text; what isn't UTF-8 is replaced."""
    return None if value is None else value.decode(errors="replace")


def data_text(value: bytes | None) -> str | None:
    """The event's data as indented JSON with every digit it has; None where there is no event to read."""
    try:
        data = envelope.decode(value).data
        try:
            return orjson.dumps(data, option=orjson.OPT_INDENT_2).decode()
        except TypeError:
            # Integers beyond 64 bits: Python's own writer knows them, and is slower.
            return json.dumps(data, indent=2, ensure_ascii=False)
    except (EnvelopeError, RecursionError):
        return None
