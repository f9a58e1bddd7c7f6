"""Addresses of pages with what they are to show, so that every number can link to what it counts."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def group(name: str) -> str:
    """A consumer group."""
    return f"/groups/{quote(name, safe='')}"


def topic(name: str) -> str:
    """A topic."""
    return f"/topics/{quote(name, safe='')}"


def event(event_id: str) -> str:
    """An event."""
    return f"/events/{quote(event_id, safe='')}"


def events(**terms: str) -> str:
    """The tail of events, filtered by these terms."""
    return _filtered("/events", terms)


def dead_letters(**terms: str) -> str:
    """Dead letters, filtered by these terms."""
    return _filtered("/dead-letters", terms)


def _filtered(page: str, terms: dict[str, str]) -> str:
    words = " ".join(f"{name}:{_value(value)}" for name, value in terms.items() if value)
    return f"{page}?{urlencode({'filter': words})}" if words else page


def _value(value: str) -> str:
    is_plain = value and not any(letter.isspace() or letter in '":,*\\' for letter in value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return value if is_plain and not value.startswith("-") else f'"{escaped}"'
