"""What became of an event, as the ledger knows it."""

from __future__ import annotations

import asyncio

from bus import catalog, conf, handlers
from bus.ledger import EventStatus, Ledger, Status

_current: tuple[conf.BusSettings, Ledger] | None = None


def event_status(event_id: str) -> EventStatus | None:
    """All that is known of the event, in every group of this installation; None when nothing is.

    What is handled is known for an hour (BUS_DEDUP_SECONDS). Raises LedgerUnavailableError.
    """
    groups = dict.fromkeys([*catalog.groups(), *handlers.registry.groups()])
    return _ledger().status(event_id, groups)


def is_event_published(event_id: str) -> bool:
    """Whether the event is known to be in Kafka. Raises LedgerUnavailableError."""
    return event_status(event_id) is not None


def is_event_processed(event_id: str, group: str | None = None) -> bool:
    """Whether the group has handled the event, or without one every group that has a handler for its topic.

    After a replay the latest run counts. False for an event that nobody handles, or that nothing is known of. Raises
    LedgerUnavailableError.
    """
    if group is not None:
        asked = _ledger().status(event_id, [group])
        return asked is not None and any(each.status is Status.PROCESSED for each in asked.groups)
    known = event_status(event_id)
    if known is None:
        return False
    topic = known.published.topic if known.published else known.groups[0].topic
    statuses = {each.group: each.status for each in known.groups}
    handling = handlers.registry.groups_for(topic)
    return bool(handling) and all(statuses.get(each) is Status.PROCESSED for each in handling)


async def aevent_status(event_id: str) -> EventStatus | None:
    """`event_status` for coroutines."""
    return await asyncio.to_thread(event_status, event_id)


async def ais_event_published(event_id: str) -> bool:
    """`is_event_published` for coroutines."""
    return await asyncio.to_thread(is_event_published, event_id)


async def ais_event_processed(event_id: str, group: str | None = None) -> bool:
    """`is_event_processed` for coroutines."""
    return await asyncio.to_thread(is_event_processed, event_id, group)


def _ledger() -> Ledger:
    """The ledger of the current settings; its Redis client is safe in threads and after a fork."""
    global _current
    settings, found = conf.current(), _current
    if found is None or found[0] is not settings:
        _current = found = settings, Ledger(settings=settings)
    return found[1]
