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
