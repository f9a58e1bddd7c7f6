"""A transition as a row of the tail. `static/js/events.js` makes the same of what comes while one looks."""

from __future__ import annotations

from typing import Any

from bus.activity import Outcome, Transition
from bus.envelope import timestamp
from eventconsole.addresses import event_url
from eventconsole.live.feed import Entry
from eventconsole.live.frames import Row
from eventconsole.live.tail import row as frame_row
from eventconsole.places import RecordPlace
from eventconsole.templatetags.console import milliseconds

_LONGEST_ID = 17


def row(transition: Transition) -> dict[str, Any]:
    """For the template. `row_key` tells it from others, `json` is the row as a frame has it."""
    each = transition
    place = RecordPlace(each.topic, each.partition, each.offset) if each.partition >= 0 and each.offset >= 0 else None
    frame: Row = frame_row(Entry(0, each))
    at = timestamp(each.at_ms)
    parts = (each.at_ms, each.outcome, each.event_id, each.group, each.attempt, each.generation)
    return {
        **each._asdict(),
        "at": at,
        "at_clock": at[11:19],
        "url": event_url(each.event_id, at=place.path if place else None),
        "short_id": short(each.event_id),
        "says": says(each, place),
        "row_key": "|".join(map(str, parts)),
        "json": frame.model_dump(by_alias=True),
    }


#: For the template that the browser copies.
BLANK: dict[str, Any] = {"json": None}


def short(event_id: str) -> str:
    """An id shortened in the middle."""
    return event_id if len(event_id) <= _LONGEST_ID else f"{event_id[:8]}…{event_id[-4:]}"


def says(each: Transition, place: RecordPlace | None) -> str:
    """What there is to say beside topic, group and error."""
    took = "" if each.duration_ms is None else milliseconds(each.duration_ms)
    number = f"attempt {each.attempt}" if each.attempt > 1 else ""
    replay = f"replay {each.generation}" if each.generation else ""
    words = {
        Outcome.PUBLISHED: f"to [{place.partition}]@{place.offset}" if place else "",
        Outcome.PROCESSING: number,
        Outcome.PROCESSED: f"in {took}{f' at {number}' if number else ''}" if took else number,
        Outcome.RETRYING: f"attempt {each.attempt} failed",
        Outcome.FAILED: f"given up{f' after {each.attempt} attempts' if each.attempt > 1 else ''}",
        Outcome.DUPLICATE: "not run again" if each.group else "not published again",
        Outcome.SKIPPED: "its handler takes no such events",
    }.get(Outcome(each.outcome) if each.outcome in list(Outcome) else Outcome.PROCESSING, "")
    return " · ".join(part for part in (words, replay, each.priority if each.priority != "normal" else "") if part)
