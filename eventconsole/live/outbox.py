"""What one socket is sent, and how much of it may be under way.

A page acknowledges about each second what it has seen. When too much is unacknowledged, because the page is suspended
or the line is slow, the socket gets nothing more: its rooms are marked as behind. With the next acknowledgement it is
told so (`resync`) and gets each of these rooms anew, as they are by then, as far as there is room. So a page that
doesn't read costs a bounded amount of memory, and neither rooms nor other sockets ever wait for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from eventconsole.live import frames

MAX_FRAMES = 100
MAX_BYTES = 1_000_000


class Member(Protocol):
    """A socket's place in a room."""

    def show(self) -> None:
        """Offer everything that the room shows now."""


class Outbox:
    """Offered frames are numbered, counted, and sent by `pump`."""

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        now_ms: Callable[[], int],
        *,
        max_frames: int = MAX_FRAMES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._send = send
        self._now_ms = now_ms
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._queue: deque[str] = deque()
        self._something = asyncio.Event()
        self._unacknowledged: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self._seq = 0
        self._behind: dict[int, Member] = {}

    @property
    def is_full(self) -> bool:
        """Whether so much is under way that nothing more is taken."""
        return len(self._unacknowledged) >= self._max_frames or self._bytes >= self._max_bytes

    @property
    def is_behind(self) -> bool:
        """Whether frames of a room were left out, and it wasn't shown anew since."""
        return bool(self._behind)

    @property
    def bytes_under_way(self) -> int:
        """Of frames that aren't acknowledged."""
        return self._bytes

    def offer(self, body: bytes, join_id: int | None = None, member: Member | None = None) -> bool:
        """Send the frame, unless too much is under way; then its room, if it is of one, is shown anew later."""
        if join_id in self._behind:
            return False
        if self.is_full:
            if join_id is not None and member is not None:
                self._behind[join_id] = member
            return False
        self._seq += 1
        self._unacknowledged.append((self._seq, len(body)))
        self._bytes += len(body)
        self._queue.append(frames.whole(body, self._seq, join_id))
        self._something.set()
        return True

    def acknowledge(self, seq: int) -> None:
        """The page has seen everything up to `seq`. Raises FrameProblem for what was never sent."""
        if seq > self._seq:
            raise frames.FrameProblem(f"seq: {seq} was never sent; allowed are up to {self._seq}")
        while self._unacknowledged and self._unacknowledged[0][0] <= seq:
            self._bytes -= self._unacknowledged.popleft()[1]
        if self._behind and not self.is_full:
            self.offer(frames.body(frames.Resync(as_of=self._now_ms())))
            self._catch_up()

    def _catch_up(self) -> None:
        # Each acknowledgement gets at least one room further, so that all of them together may be larger than what
        # can be under way.
        for join_id in list(self._behind):
            if self.is_full:
                return
            self._behind.pop(join_id).show()

    def forget(self, join_id: int) -> None:
        """The page left that room."""
        self._behind.pop(join_id, None)

    async def pump(self) -> None:
        """Send what is offered, one after the other, until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            while self._queue:
                await self._send(self._queue.popleft())
