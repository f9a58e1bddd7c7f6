"""What rooms show at the moment: one rendering per (room, parameters), however many sockets look at it.

A rendering lives as long as somebody is in the room. It asks the room's `render` on a thread, one call at a time, and
sends what differs from before. When `render` fails or takes too long the room is stale: everybody in it is told why,
and what they see keeps its age; the first good answer afterwards makes it fresh again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.db import DatabaseError, InterfaceError

from bus.errors import BusError, DatabaseUnavailableError
from eventconsole.api.memory import DatabaseThreads
from eventconsole.live import frames
from eventconsole.live.feed import Entry
from eventconsole.live.outbox import Outbox
from eventconsole.live.rooms import Content, Room

log = logging.getLogger(__name__)

THREADS = 4
MAX_RENDERINGS = 500
MAX_CONTENT_BYTES = 1_000_000
TIMEOUT_SECONDS = 5.0
# A room that is woken again and again rests for so long in between.
REST_SECONDS = 0.2

Key = tuple[str, tuple[tuple[str, str], ...], frozenset[str]]


@dataclass(eq=False, slots=True)
class Seat:
    """A socket's place in a rendering."""

    rendering: Rendering
    outbox: Outbox
    join_id: int

    def show(self) -> None:
        """Offer all that the room shows."""
        self.rendering.show_all(self)

    @property
    def as_of_ms(self) -> int | None:
        """Since when what is shown is old; None while nothing is shown."""
        return self.rendering.good_at_ms

    @property
    def every_ms(self) -> int:
        """How old that may become although all is well."""
        return int(self.rendering.room.seconds * 1000)

    def offer(self, body: bytes) -> None:
        """Send a frame of the room."""
        self.outbox.offer(body, self.join_id, self)

    def leave(self) -> None:
        """Give the place up."""
        self.outbox.forget(self.join_id)
        self.rendering.remove(self)


@dataclass(slots=True)
class _Shown:
    """The last good content, in pieces as they were compared."""

    pieces: tuple[str, ...] = ()
    data: bytes = b"null"


@dataclass(eq=False)
class Rendering:
    """One room with certain parameters."""

    room: Room
    params: Mapping[str, str]
    scopes: frozenset[str]
    renderings: Renderings
    seats: set[Seat] = field(default_factory=set)
    good_at_ms: int | None = None
    problem: str | None = None
    task: asyncio.Task[None] | None = None
    _shown: _Shown = field(default_factory=_Shown)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def remove(self, seat: Seat) -> None:
        """Somebody leaves. With the last one rendering ends."""
        self.seats.discard(seat)
        if not self.seats:
            self.renderings.end(self)

    def show_all(self, seat: Seat) -> None:
        """Offer one seat the last good content, and what is wrong if something is."""
        if self.good_at_ms is not None:
            for body in self._bodies(self._shown.pieces, self._shown.data if self._shown.data != b"null" else None):
                seat.offer(body)
        if self.problem is not None:
            seat.offer(self._stale())

    async def run(self) -> None:
        """Render again and again until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            self._woken.clear()
            try:
                await self._step()
            except Exception as error:
                # Whatever it is: a room that silently stands still would be worse.
                self._fail(_reason(error), error)
            took = loop.time() - began
            # One that takes long leaves its thread to others for as long.
            pause = max(self.room.seconds - took, took)
            rest = min(pause, max(took, REST_SECONDS))
            await asyncio.sleep(rest)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), pause - rest)

    def wake(self, entries: Sequence[Entry]) -> None:
        """Render soon if one of them concerns the room."""
        concerns = self.room.wakes
        if concerns is not None and any(concerns(self.params, entry.transition) for entry in entries):
            self._woken.set()

    async def _step(self) -> None:
        at_ms = self.renderings.now_ms()
        arguments = (self.params, self.scopes) if self.room.by_scopes else (self.params,)
        asked = asyncio.wrap_future(self.renderings.threads.submit(lambda: _checked(self.room.render(*arguments))))
        asked.add_done_callback(_retrieve)
        done, _ = await asyncio.wait({asked}, timeout=self.renderings.timeout)
        if not done:
            self._fail(f"it takes longer than {self.renderings.timeout:g} s to find out", None)
            # Not asked again beside itself.
            await asyncio.wait({asked})
        error = asked.exception()
        if error is None:
            self._succeed(*asked.result(), at_ms)
        else:
            self._fail(_reason(error), error)

    def _succeed(self, pieces: tuple[str, ...], data: bytes, at_ms: int) -> None:
        was_stale, self.problem, self.good_at_ms = self.problem is not None, None, at_ms
        before, self._shown = self._shown, _Shown(pieces, data)
        known = set(before.pieces)
        bodies = self._bodies([each for each in pieces if each not in known], data if data != before.data else None)
        if was_stale:
            log.info("room_fresh again: %s", self.room.name)
            bodies.append(frames.body(frames.Fresh(as_of=at_ms, room=self.room.name)))
        self._send(bodies)

    def _fail(self, problem: str, error: BaseException | None) -> None:
        if problem == self.problem:
            return
        self.problem = problem
        if error is None or isinstance(error, BusError | DatabaseError | InterfaceError):
            log.warning("room_stale: %s: %s", self.room.name, problem)
        else:
            log.error("room_stale: %s: %s", self.room.name, problem, exc_info=error)
        self._send([self._stale()])

    def _stale(self) -> bytes:
        return frames.body(
            frames.Stale(as_of=self.good_at_ms or 0, room=self.room.name, problem=self.problem or "nobody knows why")
        )

    def _bodies(self, pieces: list[str] | tuple[str, ...], data: bytes | None) -> list[bytes]:
        at_ms, name = self.good_at_ms or 0, self.room.name
        bodies = []
        if pieces:
            bodies.append(frames.body(frames.Fragment(as_of=at_ms, room=name, html="".join(pieces))))
        if data is not None:
            bodies.append(frames.body(frames.Data(as_of=at_ms, room=name, data=orjson.loads(data))))
        return bodies

    def _send(self, bodies: list[bytes]) -> None:
        for body in bodies:
            for seat in list(self.seats):
                seat.offer(body)


class Renderings:
    """All that is rendered in this process. Used on one event loop."""

    def __init__(
        self,
        now_ms: Callable[[], int],
        *,
        threads: DatabaseThreads | None = None,
        most: int = MAX_RENDERINGS,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self.now_ms = now_ms
        self.timeout = timeout
        self.threads = DatabaseThreads(THREADS) if threads is None else threads
        self._most = most
        self._live: dict[Key, Rendering] = {}

    def __len__(self) -> int:
        return len(self._live)

    def join(
        self, room: Room, params: Mapping[str, str], scopes: frozenset[str], outbox: Outbox, join_id: int
    ) -> Seat | None:
        """Take a seat, and be shown what is there. None when this process renders as much as it may already."""
        key = self._key(room, params, scopes)
        rendering = self._live.get(key)
        if rendering is None:
            if len(self._live) >= self._most:
                return None
            rendering = self._live[key] = Rendering(room, params, key[2], self)
            rendering.task = asyncio.get_running_loop().create_task(rendering.run(), name=f"room {room.name}")
            rendering.task.add_done_callback(_retrieve)
        seat = Seat(rendering, outbox, join_id)
        rendering.seats.add(seat)
        rendering.show_all(seat)
        return seat

    def end(self, rendering: Rendering) -> None:
        """Nobody looks any more."""
        key = self._key(rendering.room, rendering.params, rendering.scopes)
        if self._live.get(key) is rendering:
            del self._live[key]
        if rendering.task is not None:
            rendering.task.cancel()

    @staticmethod
    def _key(room: Room, params: Mapping[str, str], scopes: frozenset[str]) -> Key:
        return room.name, tuple(sorted(params.items())), scopes if room.by_scopes else frozenset()

    def wake(self, entries: Sequence[Entry], unseen: int = 0) -> None:
        """What is new in the feed."""
        for rendering in list(self._live.values()):
            rendering.wake(entries)

    def close(self) -> None:
        """End all renderings and their threads, without waiting for what is being rendered."""
        for rendering in list(self._live.values()):
            self.end(rendering)
        self.threads.close(wait=False)


def _checked(content: Content) -> tuple[tuple[str, ...], bytes]:
    """What is compared and sent, still on the thread. Raises ValueError for what is too large."""
    pieces, data = content.pieces, orjson.dumps(content.data)
    if (size := sum(map(len, pieces)) + len(data)) > MAX_CONTENT_BYTES:
        raise ValueError(f"a content of {size} bytes, allowed are {MAX_CONTENT_BYTES}; show less of it")
    return pieces, data


def _reason(error: BaseException) -> str:
    """What people are told. Other errors than those on purpose say little, and may show what isn't meant for them."""
    if isinstance(error, DatabaseError | InterfaceError) and not isinstance(error, BusError):
        error = DatabaseUnavailableError("the database can't be used")
    if isinstance(error, BusError):
        return str(error)[:300]
    return f"an error of the console ({type(error).__name__}); its log has more"


def _retrieve(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
