"""Addresses of single things, whose names may be any text."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def event_url(event_id: str, **query: str | None) -> str:
    """The page of an event. Ids may hold slashes, spaces and whatever else can be printed."""
    given = {name: value for name, value in query.items() if value}
    if event_id in (".", ".."):
        # Browsers take these for steps in the path, however they are written.
        return f"/events/?{urlencode({'id': event_id, **given})}"
    return f"/events/{quote(event_id, safe='')}{'?' + urlencode(given) if given else ''}"


def topic_url(topic: str, **query: str | int | None) -> str:
    """The page of a topic."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"/topics/{quote(topic, safe='')}{'?' + urlencode(given) if given else ''}"


def group_url(group: str) -> str:
    """The page of a consumer group."""
    return f"/groups/{quote(group, safe='')}"


def events_url(**terms: str) -> str:
    """The tail of events, filtered by these terms of its language."""
    return _filtered("/events", terms)


def dead_letters_url(**terms: str) -> str:
    """Dead letters, filtered by these terms of their language."""
    return _filtered("/dead-letters", terms)


def _filtered(page: str, terms: dict[str, str]) -> str:
    words = " ".join(f"{name}:{_value(value)}" for name, value in terms.items() if value)
    return f"{page}?{urlencode({'filter': words})}" if words else page


def _value(value: str) -> str:
    """As it has to be written in a filter to mean itself."""
    if not any(letter.isspace() or letter in '":,*\\' for letter in value) and not value.startswith("-"):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
