"""What became of many events at once."""

from __future__ import annotations

from collections.abc import Sequence

from bus.ledger import Ledger
from bus.ledger.records import GroupStatus, group_status


def group_statuses(ledger: Ledger, events: Sequence[tuple[str, str]]) -> list[GroupStatus | None]:
    """What became of each (event id, group) in the group's epoch, None when nothing is known.

    One round trip, on a cluster one per slot, and one more about once a second.
    Raises LedgerUnavailableError.
    """
    if not events:
        return []
    keys = [ledger._group_key(ledger.epochs.name(group), event_id) for event_id, group in events]
    functions = ledger._functions
    values = functions.guard(
        lambda: ledger.client.mget_nonatomic(keys) if functions.is_cluster else ledger.client.mget(keys)
    )
    return [group_status(group, value) if value else None for (_, group), value in zip(events, values, strict=True)]
