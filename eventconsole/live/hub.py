"""What the sockets of one process share: the feed, the tail, the renderings, and the clock."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

from eventconsole.live import frames
from eventconsole.live.feed import Feed
from eventconsole.live.renderings import Renderings
from eventconsole.live.tail import Tail

log = logging.getLogger(__name__)

MAX_SOCKETS = 1000


def _now_ms() -> int:
    return int(time.time() * 1000)


class Listening(Protocol):
    """A socket, as far as the clock is concerned."""

    def tick(self) -> None:
        """A second has passed."""


class Hub:
    """Made on the event loop that serves the sockets. `instance` tells pages whether it is still the same."""

    def __init__(
        self,
        *,
        feed: Feed | None = None,
        renderings: Renderings | None = None,
        now_ms: Callable[[], int] = _now_ms,
        second: float = 1.0,
        most: int = MAX_SOCKETS,
    ) -> None:
        self.instance = secrets.token_hex(8)
        self.now_ms = now_ms
        self.feed = Feed(now_ms=now_ms) if feed is None else feed
        self.tail = Tail(self.feed)
        self.renderings = Renderings(now_ms) if renderings is None else renderings
        self.feed.listeners.append(self.renderings.wake)
        self._second = second
        self._most = most
        self._sockets: set[Listening] = set()
        self._clock: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._sockets)

    @property
    def is_full(self) -> bool:
        """Whether this process serves as many sockets as it may."""
        return len(self._sockets) >= self._most

    def hello(self) -> bytes:
        """The first frame of a socket."""
        now = self.now_ms()
        return frames.body(frames.Hello(as_of=now, now=now, instance=self.instance))

    def enter(self, socket: Listening) -> None:
        """A socket was accepted."""
        self._sockets.add(socket)
        self.feed.use()
        if self._clock is None:
            self._clock = asyncio.get_running_loop().create_task(self._tick(), name="clock")

    def leave(self, socket: Listening) -> None:
        """A socket is gone. After the last one nothing is read or rendered any more."""
        if socket not in self._sockets:
            return
        self._sockets.discard(socket)
        self.feed.release()
        if not self._sockets and self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def close(self) -> None:
        """End everything, for tests and benchmarks; a server simply ends."""
        if self._clock is not None:
            self._clock.cancel()
        self.tail.close()
        self.renderings.close()
        self.feed.stop()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._second)
            for socket in list(self._sockets):
                try:
                    socket.tick()
                except Exception:
                    # One socket's mistake is nobody else's.
                    log.exception("clock_not_told and goes on")


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def open_sockets() -> int:
    """How many sockets this process serves; may be asked on any thread."""
    return sum(len(hub) for hub in list(_hubs.values()))


def current_hub() -> Hub:
    """The hub of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]
