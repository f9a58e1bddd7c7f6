"""What makes two failures the same: type of the error, message with what varies masked, and where it was raised.

Pure. Line numbers don't count: a group outlives a change elsewhere in the file.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final, NamedTuple

import orjson

MAX_MESSAGE: Final = 500
MAX_FRAME: Final = 300
_MAX_READ: Final = 2000  # of a message; the rest says nothing about its kind
_MAX_REMEMBERED: Final = 8000

# What is masked, in this order. Each pattern takes linear time: messages come from anywhere. Most begin with what a
# match can't do without: looking for that costs a tenth of looking for the pattern.
_MASKS: Final[tuple[tuple[str, re.Pattern[str], str], ...]] = (
    ("://", re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s'\"<>]+"), "<url>"),
    ("@", re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), "<email>"),
    ("'", re.compile(r"(?<!\w)'[^'\n]{0,500}'(?!\w)"), "<text>"),
    ('"', re.compile(r'"[^"\n]{0,500}"'), "<text>"),
    ("`", re.compile(r"`[^`\n]{0,500}`"), "<text>"),
    ("", re.compile(r"[“„«][^“”„«»\n]{0,500}[”“»]"), "<text>"),
    ("-", re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<id>"),
    ("0", re.compile(r"\b0[xX][0-9a-fA-F]+\b"), "<address>"),
    (".", re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b"), "<address>"),
    ("[", re.compile(r"\[[0-9a-fA-F:]*:[0-9a-fA-F:.]*\](?::\d{1,5})?"), "<address>"),
    # Words with a digit: ids of every kind.
    ("", re.compile(r"\b(?=[^\W\d]*\d)\w+(?:-\w+)*", re.ASCII), "<n>"),
    ("", re.compile(r"\d+"), "<n>"),
    ("<n>", re.compile(r"<n>(?:[.,:;/+ -]{0,3}<n>)+"), "<n>"),
    ("<n>", re.compile(r"(?<![\w>])[+-]<n>"), "<n>"),
    ("", re.compile(r"\s+"), " "),
)

_PYTHON_FRAME: Final = re.compile(r'^ {2,}File "([^"\n]{1,500})", line \d+(?:, in (\S[^\n]{0,200}))?$', re.MULTILINE)
_OTHER_FRAME: Final = re.compile(r"^\s{1,40}at (?:([^\s(][^(\n]{0,200}) ?\()?([^()\n]{1,500})\)?$", re.MULTILINE)
_NOT_OWN: Final = re.compile(
    r"site-packages|dist-packages|/lib/python\d|^<|(?:^|/)bus/(?:consumer/|producer/|ledger/|kafka/|handlers\.py|inbox\.py)"
    r"|node_modules|^node:|^internal/|^native code"
)
_NOT_OWN_NAMES: Final = re.compile(r"^(?:java|javax|jdk|sun|kotlin|scala|org\.apache|org\.springframework)\.")
_CHAINED: Final = re.compile(
    r"^(?:The above exception was the direct cause|During handling of the above)", re.MULTILINE
)


class Kind(NamedTuple):
    """What the failures of a group have in common."""

    fingerprint: str
    error_type: str
    message: str
    frame: str


def kind_of(error_type: str, error_message: str, stack_trace: str) -> Kind:
    """The kind of a failure; each part may be empty."""
    # The same code fails again and again; a trace that is longer than ours wasn't cut, and isn't remembered.
    find = _remembered_frame if len(stack_trace) <= _MAX_REMEMBERED else own_frame
    message, frame = normalised(error_message), find(stack_trace)
    parts = orjson.dumps([error_type.encode(errors="replace").decode(), message, frame])
    return Kind(hashlib.sha256(parts).hexdigest()[:32], error_type, message, frame)


def normalised(message: str) -> str:
    """A message with its numbers, ids, quoted text and addresses masked, on one line."""
    text = message[:_MAX_READ].encode(errors="replace").decode()
    for needed, pattern, mask in _MASKS:
        if needed in text:
            text = pattern.sub(mask, text)
    return text.strip()[:MAX_MESSAGE].rstrip()


def own_frame(stack_trace: str) -> str:
    """`folder/file.py:function` of the innermost frame that isn't a library's; empty when there is none.

    Of chained exceptions the last one counts, unless it has no such frame. Reads Python's traces, and those of Node and
    of Java, whose dead letters land here too.
    """
    blocks = _CHAINED.split(stack_trace)
    for block in reversed(blocks):
        frames = [(path, name) for path, name in _PYTHON_FRAME.findall(block) if not _NOT_OWN.search(path)]
        if frames:
            path, name = frames[-1]
            return _frame(path, name)
    for name, place in _OTHER_FRAME.findall(stack_trace):
        path = re.sub(r"(?::\d+){1,2}$", "", place)
        if not _NOT_OWN.search(path) and not _NOT_OWN_NAMES.search(name):
            return _frame(path, name.strip())
    return ""


_remembered_frame = lru_cache(maxsize=512)(own_frame)


def _frame(path: str, name: str) -> str:
    # The same code lies elsewhere on another machine: its file and the two folders above tell enough.
    tail = "/".join(path.replace("\\", "/").split("/")[-3:])
    frame = f"{tail}:{name}" if name else tail
    return frame.encode(errors="replace").decode()[-MAX_FRAME:]
