"""Writing the stream: a process counts what happens, and a thread of its own appends it twice a second.

Whoever counts is in the middle of consuming or publishing, so counting takes a fraction of a microsecond, does no I/O
and raises nothing. What can't be written is dropped, so nothing piles up while Redis is away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from bus.activity.buffer import Buffer
from bus.activity.entries import Transition, pack
from bus.errors import LedgerUnavailableError
from bus.ledger import Ledger
from bus.ledger.functions import Functions

log = logging.getLogger("bus.activity")

FIELD = b"a"
MOST_ENTRIES = 20_000
_FEWEST_ENTRIES = 200
_INTERVAL_SECONDS = 0.5
PATIENCE_SECONDS = 0.05
_AWAY_SECONDS = 2.0


def key_of(ledger: Ledger) -> str:
    """The stream's key."""
    return f"{ledger.prefix}:activity"


class ActivityLog:
    """Appends what one process does to the stream. Safe to use from several threads.

    `by` names the process; `clock` is monotonic and `wall_clock` the time since 1970, both in seconds. The thread is
    started by the first thing that happens. After a silence it waits `patience` seconds, so that what is first is shown
    at once, with those that come with it.
    """

    def __init__(
        self,
        ledger: Ledger,
        by: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.by = by
        self.wall_clock = wall_clock
        self._ledger = ledger
        self._guard = Functions(None, ledger.settings).guard
        self._key = key_of(ledger)
        self._clock = clock
        self._patience = patience
        self._lock = threading.Lock()
        self._buffer = Buffer()
        self._is_awake = False
        self._something = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_away = False
        self._bytes_per_entry = 0.0

    # -- from the hot path ------------------------------------------------------------------------------------------

    def count(self, topic: str, group: str, outcome: str, n: int = 1) -> int:
        """Count events. Returns how many transitions of this kind are still wanted; `keep` need not be called else."""
        with self._lock:
            if not self._is_awake:
                self._rouse()
            return self._buffer.count(topic, group, outcome, n)

    def timed(self, topic: str, group: str, outcome: str, ms: int) -> int:
        """`count` for an attempt that took so many milliseconds."""
        with self._lock:
            if not self._is_awake:
                self._rouse()
            self._buffer.time(topic, group, ms)
            return self._buffer.count(topic, group, outcome, 1)

    def keep(self, transition: Transition) -> None:
        """Show this transition of an event that was counted, if there is room."""
        with self._lock:
            self._buffer.keep(transition)

    def close(self, timeout: float = 0.5) -> None:
        """Write what there is, within `timeout` seconds, and stop. While Redis is away nothing is tried."""
        with self._lock:
            self._is_awake = True  # what is counted from now on wakes nobody
            thread = self._thread
        self._closing.set()
        self._something.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(0.0 if self._is_away else timeout)

    def _rouse(self) -> None:
        self._is_awake = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name="bus-activity", daemon=True)
            self._thread.start()
        self._something.set()

    # -- on its own thread ------------------------------------------------------------------------------------------

    def _live(self) -> None:
        last = self._clock() - _INTERVAL_SECONDS
        while True:
            self._something.wait()
            pause = last + (_AWAY_SECONDS if self._is_away else _INTERVAL_SECONDS) - self._clock()
            is_last = self._closing.wait(max(pause, self._patience))
            last = self._clock()
            try:
                self.flush()
            except Exception:
                log.exception("activity_not_written and dropped")
            if is_last:
                return

    def flush(self) -> bool:
        """Append what happened since the last call; whether that succeeded. What can't be written is dropped."""
        with self._lock:
            buffer, self._buffer = self._buffer, Buffer()
            if not self._closing.is_set():
                self._is_awake = False
                self._something.clear()
        if buffer.is_empty:
            return True
        packed = pack(buffer.activity(self.by, int(self.wall_clock() * 1000)))
        most = self._most_entries(len(packed))
        try:
            self._guard(lambda: self._ledger.client.xadd(self._key, {FIELD: packed}, maxlen=most, approximate=True))
        except LedgerUnavailableError as error:
            if not self._is_away:
                log.info("activity_not_written until Redis is back: %s", error)
            self._is_away = True
            return False
        self._is_away = False
        return True

    def _most_entries(self, size: int) -> int:
        """How many entries the stream may hold: those of busy processes are large, and its memory is limited."""
        self._bytes_per_entry += (size - self._bytes_per_entry) * (0.1 if self._bytes_per_entry else 1.0)
        most = int(self._ledger.settings.activity_bytes / self._bytes_per_entry)
        return max(_FEWEST_ENTRIES, min(most, MOST_ENTRIES))
