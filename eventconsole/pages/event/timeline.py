"""All events of one correlation id, on a line of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import bus
from bus.ledger import MAX_CORRELATED, EventStatus, Status
from eventconsole.state import ledger

WIDTH = 1000
_FIRST = (Status.FAILED, Status.RETRYING, Status.PROCESSING, Status.PENDING)


@dataclass(frozen=True, slots=True)
class Row:
    """One event. `x` and `width` lie on a line of WIDTH; `took_ms` is from its publishing to its last attempt's end."""

    event_id: str
    topic: str
    status: str
    after_ms: int
    took_ms: int | None
    x: float
    width: float
    is_this: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """Events of one correlation id in the order of time, `span_ms` from the first's publishing to the last's end."""

    rows: Sequence[Row] = ()
    span_ms: int = 0
    is_cut: bool = False


def timeline_of(correlation_id: str, this_id: str, now_ms: int) -> Timeline:
    """Raises LedgerUnavailableError."""
    ids = ledger().correlated(correlation_id)
    found = [status for each in ids if (status := bus.event_status(each)) is not None and status.published]
    if not found:
        return Timeline()
    begins = [each.published.at_ms for each in found if each.published]
    first = min(begins)
    ends = [_end(each, begin, now_ms) for each, begin in zip(found, begins, strict=True)]
    span = max(max(ends) - first, 1)
    rows = [
        Row(
            each.event_id,
            each.published.topic if each.published else "",
            str(_status(each)).lower(),
            begin - first,
            end - begin if _status(each) is Status.PROCESSED else None,
            round((begin - first) / span * WIDTH, 1),
            max(round((end - begin) / span * WIDTH, 1), 6.0),
            each.event_id == this_id,
        )
        for each, begin, end in zip(found, begins, ends, strict=True)
    ]
    return Timeline(sorted(rows, key=lambda row: row.after_ms), span, len(ids) >= MAX_CORRELATED)


def _end(found: EventStatus, begin: int, now_ms: int) -> int:
    ends = [run.at_ms + run.duration_ms for group in found.groups for run in group.attempts]
    if any(group.status in (Status.PROCESSING, Status.RETRYING) for group in found.groups):
        ends.append(now_ms)
    return max([begin, *ends])


def _status(found: EventStatus) -> Status:
    states = {group.status for group in found.groups}
    return next((each for each in _FIRST if each in states), Status.PROCESSED if states else Status.PENDING)
