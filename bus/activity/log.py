"""Writing the stream: a process notes what happens, and a thread of its own appends it twice a second.

Whoever notes is in the middle of consuming or publishing. So an event that is counted costs one append to a list, and
is described only while the entry has room. Noting does no I/O and raises nothing. What can't be written is dropped, so
nothing piles up while Redis is away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

from bus.activity.counts import UNTIMED, Counts
from bus.activity.entries import Activity, Outcome, Transition, pack
from bus.activity.sample import RANKS, Sample, chosen
from bus.errors import LedgerUnavailableError
from bus.ledger import PUBLISHING, Ledger
from bus.ledger.functions import Functions

log = logging.getLogger("bus.activity")

FIELD = b"a"
MOST_ENTRIES = 20_000
PATIENCE_SECONDS = 0.05
_FEWEST_ENTRIES = 200
_INTERVAL_SECONDS = 0.5
_AWAY_SECONDS = 2.0


def key_of(ledger: Ledger) -> str:
    """The stream's key."""
    return f"{ledger.prefix}:activity"


class ActivityLog:
    """Appends what one process does to the stream. Safe to use from several threads.

    Note an event with `tally(…).append(…)`, or `count`, and only then, if `room` says so, describe it with `keep`.

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
        self._ledger = ledger
        self._guard = Functions(None, ledger.settings).guard
        self._key = key_of(ledger)
        self._clock = clock
        self._wall_clock = wall_clock
        self._patience = patience
        self._lock = threading.Lock()
        self._counts = Counts()
        self._sample = Sample()
        #: Per rank of `RANKS` how many more transitions are wanted. There is always room right after a silence.
        self.room = self._sample.room
        self._is_awake = False
        self._something = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_away = False
        self._bytes_per_entry = 0.0

    # -- noting -----------------------------------------------------------------------------------------------------

    def tally(self, topic: str, group: str, outcome: str) -> list[int]:
        """The list to which each event of this kind appends the milliseconds of its attempt, or UNTIMED."""
        return self._counts.tally(topic, group, outcome)

    def count(self, topic: str, group: str, outcome: str, n: int = 1, ms: int = UNTIMED) -> int:
        """Count `n` events. Returns how many transitions of this kind are wanted."""
        self._counts.tally(topic, group, outcome).extend([ms] * n)
        if not self._is_awake:
            with self._lock:
                self._rouse()
        return self.room[RANKS[outcome]]

    def keep(self, transition: Transition) -> None:
        """Describe an event that was counted, if there is room."""
        with self._lock:
            self._sample.keep(transition)
            self._rouse()

    def close(self, timeout: float = 0.5) -> None:
        """Write what there is, within `timeout` seconds, and stop. While Redis is away nothing is tried."""
        with self._lock:
            self._is_awake = True  # what comes from now on wakes nobody
            thread = self._thread
        self._closing.set()
        self._something.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(0.0 if self._is_away else timeout)

    def _rouse(self) -> None:
        if self._is_awake:
            return
        if self._thread is None:
            thread = threading.Thread(target=self._live, name="bus-activity", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return  # the system has no more of them, or Python ends: the next one who tells tries again
            self._thread = thread
        self._is_awake = True
        self._something.set()

    # -- writing, on its own thread ---------------------------------------------------------------------------------

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
                # Only for showing: no promise rests on activity, and without this thread nobody would see any again.
                log.exception("activity_not_written and dropped")
            if is_last:
                return

    def flush(self) -> bool:
        """Append what happened since the last call; whether that succeeded. What can't be written is dropped."""
        # The order matters: who counts after the counts are taken finds room again, describes the event, and so wakes
        # this thread for it.
        with self._lock:
            if not self._closing.is_set():
                self._is_awake = False
                self._something.clear()
            kept = self._sample.take()
        counts, durations = self._counts.take()
        transitions = chosen(kept)
        if not counts and not transitions:
            return True
        # An event that was counted right before the last writing may be described only now.
        skipped = max(0, sum(n for *_, n in counts) - len(transitions))
        at_ms = int(self._wall_clock() * 1000)
        return self._write(
            Activity("", self.by, at_ms, counts, durations, transitions, skipped),
            kept[RANKS[Outcome.DUPLICATE.value]],
        )

    def _write(self, activity: Activity, duplicates: list[Transition]) -> bool:
        packed = pack(activity)
        most = self._most_entries(len(packed))
        try:
            self._guard(lambda: self._ledger.client.xadd(self._key, {FIELD: packed}, maxlen=most, approximate=True))
            if duplicates:
                self._ledger.count_duplicates(Counter((each.event_id, each.group or PUBLISHING) for each in duplicates))
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
