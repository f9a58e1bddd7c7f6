"""Times as people and programs write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment(text: str) -> datetime:
    """The moment that an ISO 8601 text means; without an offset it is UTC. Raises ValueError."""
    at = datetime.fromisoformat(text)
    # Year 1 in the far east is before all times that can be compared.
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def moment_or_ago(text: str, now: datetime) -> datetime:
    """The same, or so long before now: 30s, 15m, 2h, 7d. Raises ValueError and OverflowError."""
    if text[:-1].isdecimal() and text[-1] in _UNITS:
        return now - timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])
    return moment(text)


def iso(at: datetime) -> str:
    """The moment as answers write it: UTC with milliseconds and Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def iso_or_none(at: datetime | None) -> str | None:
    """The same for what may not have happened."""
    return None if at is None else iso(at)
