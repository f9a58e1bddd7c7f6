"""The ledger as publishing uses it: asked when it answers, done without when it doesn't."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from bus.errors import LedgerUnavailableError
from bus.ledger import PublishRecord

log = logging.getLogger("bus.producer")

T = TypeVar("T")
#: An acknowledged event: its id, where it is, and its correlation id.
Note = tuple[str, PublishRecord, str | None]

_SHORTEST_PAUSE = 1.0
# A Redis that hangs may take a fifth of the time of whoever waits for it.
_PAUSE_PER_SECOND_LOST = 4.0


class PublishLedger(Protocol):
    """What publishing needs of `bus.ledger.Ledger`."""

    def claim_publish(self, topic: str, event_ids: Sequence[str], token: str) -> list[PublishRecord | Exception | None]:
        """Reserve event ids."""

    def confirm_publish(self, published: Sequence[Note]) -> None:
        """Note acknowledged events."""

    def release_publish(self, event_ids: Sequence[str], token: str) -> None:
        """Give reserved ids free again."""


class Bookkeeping:
    """Keeps what was published while Redis answers; after a failure it leaves Redis alone for a while.

    Publishing goes on without it: a duplicate is then in Kafka twice, and consumers drop the second. `clock` is
    monotonic, in seconds. Safe to use from several threads.
    """

    def __init__(self, ledger: PublishLedger, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._away_until: float | None = None
        self._unnoted = 0

    @property
    def is_away(self) -> bool:
        """Whether Redis didn't answer when it was last asked."""
        return self._away_until is not None

    def claim(self, topic: str, event_ids: Sequence[str], token: str) -> list[PublishRecord | Exception | None] | None:
        """Reserve ids, as the ledger does; None when it can't be asked."""
        return self._ask(lambda: self._ledger.claim_publish(topic, event_ids, token), len(event_ids))

    def confirm(self, notes: Sequence[Note]) -> None:
        """Note acknowledged events."""
        if notes:
            self._ask(lambda: self._ledger.confirm_publish(notes), len(notes))

    def release(self, event_ids: Sequence[str], token: str) -> None:
        """Give ids free again. When Redis can't be asked they come free when their reservation lapses."""
        if event_ids:
            self._ask(lambda: self._ledger.release_publish(event_ids, token), 0)

    def _ask(self, call: Callable[[], T], events: int) -> T | None:
        if not self._may_ask():
            self._unnoted += events
            return None
        began = self._clock()
        try:
            answer = call()
        except LedgerUnavailableError as error:
            self._went_away(error, began, events)
            return None
        if self._away_until is not None:
            self._came_back()
        return answer

    def _may_ask(self) -> bool:
        if self._away_until is None:
            return True
        with self._lock:
            now = self._clock()
            if self._away_until is None:
                return True
            if now < self._away_until:
                return False
            # One caller tries; the others go on without.
            self._away_until = now + _SHORTEST_PAUSE
            return True

    def _went_away(self, error: Exception, began: float, events: int) -> None:
        with self._lock:
            now = self._clock()
            is_first = self._away_until is None
            self._away_until = now + max(_SHORTEST_PAUSE, (now - began) * _PAUSE_PER_SECOND_LOST)
            self._unnoted += events
        if is_first:
            log.warning("ledger_unavailable publishing goes on and consumers deduplicate: %s", error)

    def _came_back(self) -> None:
        with self._lock:
            was_away, self._away_until = self._away_until is not None, None
            unnoted, self._unnoted = self._unnoted, 0
        if was_away:
            log.info("ledger_available again; while it was away, %d claims and notes were left out", unnoted)
