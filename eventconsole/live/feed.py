"""The feed: this process's one reader of the activity stream, and the last few hundred transitions.

It reads on a thread of its own while sockets are open, and hands what it read to the event loop. Each transition gets
a number, so that a page that was away can ask for what came after the last one it has. While Redis is away the feed
says so (`problem`) and how old its knowledge is (`as_of_ms`), and goes on reading when Redis is back.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from bus.activity import Activity, ActivityStream, Transition
from bus.errors import LedgerUnavailableError
from bus.ledger import Ledger

log = logging.getLogger(__name__)

KEPT = 2000
# Entries of the stream that are read when the feed starts.
_RECENT = 60
_COUNT = 100
_BLOCK_MS = 500
# Between two reads, so that many small entries are read together.
_PAUSE_SECONDS = 0.05
_AWAY_SECONDS = 1.0
_LINGER_SECONDS = 20.0
_HANDOVER_SECONDS = 5.0
_FAR_MS = 60_000


class Stream(Protocol):
    """What the feed needs of `bus.activity.ActivityStream`."""

    def recent(self, count: int = 100) -> list[Activity]: ...

    def latest_id(self) -> str: ...

    def read(self, after: str, count: int = 100, block_ms: int = 0) -> list[Activity]: ...


class Entry(NamedTuple):
    """A transition and its number."""

    seq: int
    transition: Transition


#: Called on the event loop with what is new, and how many transitions the workers didn't tell.
Listener = Callable[[Sequence[Entry], int], None]


def open_stream() -> Stream:
    """The stream of the settings. Raises LedgerUnavailableError."""
    return ActivityStream(Ledger())


class Feed:
    """Used on one event loop; only `_read` and what it calls run on the thread."""

    def __init__(
        self,
        open_stream: Callable[[], Stream] = open_stream,
        *,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        kept: int = KEPT,
        pause: float = _PAUSE_SECONDS,
        away: float = _AWAY_SECONDS,
        linger: float = _LINGER_SECONDS,
    ) -> None:
        self._open_stream = open_stream
        self._now_ms = now_ms
        self._pause = pause
        self._away = away
        self._linger = linger
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._seq = 0
        self._after: str | None = None
        self._users = 0
        self._stopping: threading.Event | None = None
        self._stop_later: asyncio.TimerHandle | None = None
        self.as_of_ms = 0
        self.problem: str | None = None
        self.listeners: list[Listener] = []
        self.state_listeners: list[Callable[[], None]] = []

    # -- on the event loop ------------------------------------------------------------------------------------------

    @property
    def last_seq(self) -> int:
        """The number of the newest transition; 0 before the first."""
        return self._seq

    @property
    def is_reading(self) -> bool:
        """Whether the thread runs."""
        return self._stopping is not None

    def entries(self, after: int = 0) -> list[Entry]:
        """What is kept after that number, oldest first."""
        return [entry for entry in self._entries if entry.seq > after]

    def reaches(self, after: int) -> bool:
        """Whether everything after that number is still kept."""
        oldest = self._entries[0].seq if self._entries else self._seq + 1
        return oldest - 1 <= after <= self._seq

    def use(self) -> None:
        """Somebody wants the feed: read. To be called once per user, as is `release`."""
        self._users += 1
        if self._stop_later is not None:
            self._stop_later.cancel()
            self._stop_later = None
        if self._stopping is None:
            self._stopping = threading.Event()
            arguments = (self._stopping, asyncio.get_running_loop())
            threading.Thread(target=self._read, args=arguments, name="console-feed", daemon=True).start()

    def release(self) -> None:
        """One user less. After the last one reading goes on for a moment: people go from page to page."""
        self._users -= 1
        if self._users == 0 and self._stopping is not None:
            self._stop_later = asyncio.get_running_loop().call_later(self._linger, self.stop)

    def stop(self) -> None:
        """End reading."""
        if self._stop_later is not None:
            self._stop_later.cancel()
            self._stop_later = None
        if self._stopping is not None:
            self._stopping.set()
            self._stopping = None

    def _take(self, activities: Sequence[Activity], as_of_ms: int, is_gap: bool, stopping: threading.Event) -> None:
        if self._stopping is not stopping:
            return  # of a thread that was told to stop
        if is_gap:
            # Nobody can go on after a number from before.
            self._entries.clear()
            self._seq += 1
        new = []
        unseen = 0
        for activity in activities:
            self._after = activity.id
            unseen += activity.skipped
            for transition in activity.transitions:
                self._seq += 1
                new.append(Entry(self._seq, transition))
        self._entries.extend(new)
        self.as_of_ms = max(self.as_of_ms, as_of_ms)
        self._set_problem(None)
        if new or unseen:
            for listener in list(self.listeners):
                try:
                    listener(new, unseen)
                except Exception:
                    # One room's mistake is nobody else's.
                    log.exception("feed_not_heard by a listener")

    def _fail(self, problem: str, stopping: threading.Event) -> None:
        if self._stopping is stopping:
            self._set_problem(problem)

    def _set_problem(self, problem: str | None) -> None:
        if problem == self.problem:
            return
        if problem is not None and self.problem is None:
            log.warning("feed_stale: %s", problem)
        elif problem is None:
            log.info("feed_fresh again")
        self.problem = problem
        for listener in list(self.state_listeners):
            listener()

    # -- on the thread ----------------------------------------------------------------------------------------------

    def _read(self, stopping: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        stream: Stream | None = None
        after = self._after
        while not stopping.is_set():
            try:
                stream = stream or self._open_stream()
                after, is_open = self._step(stream, after, stopping, loop)
            except LedgerUnavailableError as error:
                is_open = _hand_over(loop, partial(self._fail, str(error), stopping))
                stopping.wait(self._away)
            except Exception as error:
                log.exception("feed_failed and goes on")
                said = f"the activity can't be read ({type(error).__name__}); the log has more"
                is_open = _hand_over(loop, partial(self._fail, said, stopping))
                stopping.wait(self._away)
            if not is_open:
                return

    def _step(
        self, stream: Stream, after: str | None, stopping: threading.Event, loop: asyncio.AbstractEventLoop
    ) -> tuple[str | None, bool]:
        """Read once. Returns where to go on, and whether the event loop still is there."""
        is_gap = False
        if after is None or self._now_ms() - self.as_of_ms > _FAR_MS:
            # At the start, or after so long a time that only what is newest is worth reading.
            at_ms = self._now_ms()
            recent = stream.recent(_RECENT)
            activities = [each for each in recent if after is None or _is_later(each.id, after)]
            is_gap = after is not None and len(activities) == len(recent) > 0
            after = activities[-1].id if activities else after or stream.latest_id()
        else:
            activities = stream.read(after, _COUNT, _BLOCK_MS)
            # What was written while the read waited has been seen, unless there was more than it may take.
            at_ms = activities[-1].at_ms if len(activities) >= _COUNT else self._now_ms()
            after = activities[-1].id if activities else after
        is_open = _hand_over(loop, partial(self._take, activities, at_ms, is_gap, stopping))
        stopping.wait(self._pause)
        return after, is_open


def _hand_over(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> bool:
    """Run it on the event loop and wait until that is done, so that nothing piles up. False when the loop is gone."""
    done = threading.Event()

    def run() -> None:
        try:
            call()
        finally:
            done.set()

    try:
        loop.call_soon_threadsafe(run)
    except RuntimeError:
        return False
    while not done.wait(_HANDOVER_SECONDS):
        if loop.is_closed():
            return False
    return True


def _is_later(entry_id: str, than: str) -> bool:
    return _order(entry_id) > _order(than)


def _order(entry_id: str) -> tuple[int, int]:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number or 0)
