"""The ledger as pages ask it: one per process, whose Redis client is safe in threads."""

from __future__ import annotations

from bus import conf
from bus.ledger import Ledger

_current: tuple[conf.BusSettings, Ledger] | None = None


def ledger() -> Ledger:
    """The ledger of the current settings."""
    global _current
    settings, found = conf.current(), _current
    if found is None or found[0] is not settings:
        _current = found = settings, Ledger(settings=settings)
    return found[1]


def ledger_hours() -> str:
    """For how long the ledger knows events, in words."""
    settings = conf.current()
    handled, failed = _span(settings.dedup_seconds), _span(settings.failed_seconds)
    return f"{handled} after they were handled, {failed} after they failed"


def _span(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:g} hour{'s' * (hours != 1)}" if hours >= 1 else f"{seconds / 60:g} minutes"
