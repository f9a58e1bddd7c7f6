"""Reading the stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bus.activity.entries import Activity, unpack
from bus.activity.log import FIELD, key_of
from bus.ledger import Ledger
from bus.ledger.functions import Functions

# The client gives up an answer that takes two seconds.
_LONGEST_BLOCK_MS = 1000


class ActivityStream:
    """Reads entries, oldest first. Every method raises LedgerUnavailableError when Redis can't be reached.

    Entries that can't be read, such as those of a later release, are left out.
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._guard = Functions(None, ledger.settings).guard
        self._clock = clock
        self._key = key_of(ledger)

    def latest_id(self) -> str:
        """The id of the newest entry, to read what comes after it; `0-0` when there is none."""
        newest = self._guard(lambda: self._ledger.client.xrevrange(self._key, count=1))
        return newest[0][0].decode() if newest else "0-0"

    def recent(self, count: int = 100) -> list[Activity]:
        """The newest entries, up to `count`."""
        found = self._guard(lambda: self._ledger.client.xrevrange(self._key, count=count))
        return _readable(found[::-1])

    def read(self, after: str, count: int = 100, block_ms: int = 0) -> list[Activity]:
        """Entries after that id, up to `count`; with `block_ms` it waits so long for the first one.

        Nothing tells of entries that the stream has lost by then, because it is capped, or Redis forgot it.
        """
        deadline = self._clock() + block_ms / 1000
        while True:
            left_ms = min(int((deadline - self._clock()) * 1000), _LONGEST_BLOCK_MS)
            entries = self._next(after, count, left_ms)
            if readable := _readable(entries):
                return readable
            if entries:
                after = entries[-1][0].decode()
            elif self._clock() >= deadline:
                return []

    def _next(self, after: str, count: int, block_ms: int) -> list[Any]:
        options = {"block": block_ms} if block_ms > 0 else {}
        answer = self._guard(lambda: self._ledger.client.xread({self._key: after}, count, **options))
        return answer[0][1] if answer else []


def _readable(entries: list[Any]) -> list[Activity]:
    found = (unpack(entry_id.decode(), values.get(FIELD, b"")) for entry_id, values in entries)
    return [activity for activity in found if activity is not None]
