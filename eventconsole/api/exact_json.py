"""JSON bodies, read exactly: what would be changed on its way into an event is refused instead.

Python's own reader takes NaN, keeps the last of two equal keys, rounds decimals and lets half characters through.
"""

from __future__ import annotations

import json
from decimal import Decimal
from math import isinf
from typing import Any, NoReturn

import orjson

#: Levels of nesting that are taken: what orjson can write, which bounds its readers too.
MAX_DEPTH = 254
# A double gives back every decimal of up to 15 significant digits.
_SURELY_EXACT = 15


class JsonError(ValueError):
    """The body can't be taken. `field` is the JSON path of what is wrong, empty for the whole body."""

    def __init__(self, problem: str, field: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.field = field


def parse(body: bytes) -> Any:
    """The value in the body. Raises JsonError."""
    try:
        value = _decoder.decode(body.decode())
    except UnicodeDecodeError as error:
        raise JsonError(f"the body is not UTF-8: byte {error.start} is {body[error.start]:#04x}") from None
    except RecursionError:
        raise JsonError(f"nested too deeply; allowed are {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"the body is not JSON: {error}") from None
    except JsonError:
        raise
    except ValueError:
        # int() refuses more than 4,300 digits, because reading them takes quadratic time.
        raise JsonError("the body holds a number of more than 4,300 digits") from None
    try:
        orjson.dumps(value)
    except TypeError:
        # Also for integers over 64 bits, which are well and which the search passes.
        _refuse(value)
    return value


def _refuse(value: Any) -> None:
    """Raise JsonError for lone surrogates and for nesting beyond MAX_DEPTH, with the place."""
    level: list[tuple[Any, str]] = [(value, "")]
    depth = 0
    while level:
        below: list[tuple[Any, str]] = []
        for item, path in level:
            if isinstance(item, str):
                _refuse_surrogates(item, path)
            elif isinstance(item, dict):
                for key, inner in item.items():
                    _refuse_surrogates(key, path)
                    below.append((inner, f"{path}.{key}" if path else key))
            elif isinstance(item, list):
                below.extend((inner, f"{path}[{index}]") for index, inner in enumerate(item))
        depth += any(isinstance(item, dict | list) for item, _ in level)
        if depth > MAX_DEPTH:
            raise JsonError(f"nested too deeply; allowed are {MAX_DEPTH} levels", below[0][1][:80] if below else "")
        level = below


def _refuse_surrogates(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise JsonError(f"holds {half} without its other half, which is no character", path) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        name = ascii(twice)[1:-1][:80]
        raise JsonError(f"the key {name} stands twice in one object, and only one could be kept", name)
    return made


def _float(text: str) -> float:
    value = float(text)
    if len(text) > _SURELY_EXACT + 1 or "e" in text or "E" in text:
        if isinf(value):
            raise JsonError(f"the number {text:.40} is larger than a 64-bit floating-point number can be")
        if Decimal(text) != Decimal(repr(value)):
            raise JsonError(
                f"the number {text:.40} would become {value!r}: a 64-bit floating-point number can't hold it; "
                "send it as text"
            )
    return value


def _constant(text: str) -> NoReturn:
    raise JsonError(f"{text} is not a number that JSON can hold")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
