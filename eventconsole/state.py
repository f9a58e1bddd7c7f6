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
