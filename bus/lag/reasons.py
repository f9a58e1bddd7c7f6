"""Why a group waits, as the sentence that a colleague would say. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bus.presence import Why

# What one would want to know first; what only follows from something else comes last.
_ORDER: Final = (
    Why.REDIS,
    Why.PAUSED,
    Why.DEAD_LETTER,
    Why.NO_WORKER,
    Why.STUCK,
    Why.RETRY,
    Why.OUTAGE,
    Why.SLOW,
    Why.ELSEWHERE,
    Why.WINDOW,
)
# They hold without any lag, too.
_WITHOUT_LAG: Final = (Why.REDIS, Why.PAUSED)


def sentence(partitions: Sequence[Mapping[str, Any]]) -> str:
    """Why the group waits, from its partitions as `GroupState` keeps them; empty when it doesn't.

    It tells of the reason that matters most, of how many partitions it holds, and whether there are others.
    """
    by_reason: dict[str, list[Mapping[str, Any]]] = {}
    for each in partitions:
        waits = each["waits"]
        if waits is not None and (each["lag"] > 0 or waits["why"] in _WITHOUT_LAG):
            by_reason.setdefault(waits["why"], []).append(waits)
    for why in _ORDER:
        if why in by_reason:
            others = len(by_reason) - 1
            return _told(why, by_reason[why], len(partitions)) + (_others(others) if others else "")
    return ""


def _told(why: Why, waits: Sequence[Mapping[str, Any]], of: int) -> str:
    how_many, is_one = _partitions(len(waits), of), len(waits) == 1
    first = waits[0]
    match why:
        case Why.REDIS:
            return "Redis can't be reached, so no event is begun."
        case Why.PAUSED:
            return f"{how_many} {'is' if is_one else 'are'} paused{_because(first['detail'])}."
        case Why.NO_WORKER if len(waits) == of:
            return "No worker runs."
        case Why.NO_WORKER:
            return f"{how_many} {'has' if is_one else 'have'} no worker."
        case Why.DEAD_LETTER:
            return f"{how_many} {_wait(is_one)} until a dead letter can be written: {_commonest(waits)}."
        case Why.STUCK:
            return f"{how_many} {_wait(is_one)} for a handler that doesn't come back: {first['detail']}."
        case Why.RETRY:
            if is_one:
                key = f", key {first['key']}" if first["key"] else ""
                return f"{how_many} waits for a retry after {_commonest(waits)}{key}."
            return f"{how_many} wait for retries of {_commonest(waits)}."
        case Why.OUTAGE:
            return f"{how_many} {_wait(is_one)} for the end of an outage: {_commonest(waits)}."
        case Why.SLOW:
            return f"{how_many} {_wait(is_one)} for a slow handler: {first['detail']}."
        case Why.ELSEWHERE:
            return f"{how_many} {_wait(is_one)} for an event that another worker had last."
    return f"{how_many} {'has' if is_one else 'have'} as many events in hand as allowed."


def _partitions(count: int, of: int) -> str:
    if of == 1:
        return "Its only partition"
    return f"All {of} partitions" if count == of else f"{count} of {of} partitions"


def _wait(is_one: bool) -> str:
    return "waits" if is_one else "wait"


def _others(count: int) -> str:
    return " Others wait for another reason." if count == 1 else f" Others wait for {count} other reasons."


def _because(detail: str) -> str:
    return f": {detail}" if detail else ""


def _commonest(waits: Iterable[Mapping[str, Any]]) -> str:
    errors = Counter(each["error"] or "an error" for each in waits)
    [(first, _)] = errors.most_common(1)
    others = len(errors) - 1
    if not others:
        return first
    return f"{first} and another error" if others == 1 else f"{first} and {others} other errors"
