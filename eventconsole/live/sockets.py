"""The socket of a page: `/ws/live`.

It opens for a page of this host and a logged-in person only. Every join is checked like a call of the API: the person
is read from the database anew, whether they are active and what they may do, and the room's scope has to be among it.
The same is read again every half minute; a room whose scope was taken away is closed, and the socket with the login.

Close codes: 4401 log in again · 4400 too many frames that aren't good · 4429 too many frames · 1011 and 1013 come
back later.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.http import HttpRequest, parse_cookie

from bus.errors import DatabaseUnavailableError
from eventconsole.api.auth import database_threads, session_caller
from eventconsole.api.tokens import Caller
from eventconsole.live import frames, origin, rooms
from eventconsole.live.frames import Ack, FrameProblem, Join, Leave, Refusal
from eventconsole.live.hub import Hub, current_hub
from eventconsole.live.outbox import Outbox
from eventconsole.models import Scope

log = logging.getLogger(__name__)

LOG_IN = 4401
FORBIDDEN_ORIGIN = 4403
BAD_FRAMES = 4400
TOO_MANY_FRAMES = 4429
COME_BACK_LATER = 1013
FAILED = 1011

MAX_ROOMS = 20
MAX_BAD_FRAMES = 20
MAX_WAITING_JOINS = 50
# A page joins its rooms at once, and then says little: an acknowledgement each second, or a few when much comes.
FRAMES_PER_WINDOW = 200
WINDOW_SECONDS = 10.0
RECHECK_SECONDS = 30.0
#: While the database is away nobody's permissions can be read: what was allowed stays so for this long.
GOOD_SECONDS = 60.0

Identify = Callable[[str], Caller | None]


class Place(Protocol):
    """A socket's place in a room."""

    @property
    def as_of_ms(self) -> int | None: ...

    @property
    def every_ms(self) -> int: ...

    def leave(self) -> None: ...


def identify(session_key: str) -> Caller | None:
    """Whose session it is, and what they may do now. Asks the database."""
    return session_caller(HttpRequest(), session_key)


class LiveSocket(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """One page's connection."""

    def __init__(
        self,
        *,
        hub_of: Callable[[], Hub] = current_hub,
        identify: Identify = identify,
        recheck: float = RECHECK_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._hub_of = hub_of
        self._identify = identify
        self._recheck = recheck
        self._monotonic = monotonic
        self._session_key = ""
        self._confirmed_at = 0.0
        self._scopes: frozenset[str] = frozenset()
        self._places: dict[int, tuple[Place, Scope, Join]] = {}
        self._waiting: asyncio.Queue[Join] = asyncio.Queue(MAX_WAITING_JOINS)
        self._tasks: list[asyncio.Task[None]] = []
        self._bad_frames = 0
        self._received: deque[float] = deque(maxlen=FRAMES_PER_WINDOW)
        self._is_open = False
        self._hub: Hub
        self._outbox: Outbox

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Whether the page is gone, or the server ends and cancels this.
            self._end()

    # -- opening and closing ----------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Open for a person who may; a handshake that is closed instead of accepted is refused."""
        self._hub = self._hub_of()
        if not origin.is_own(self.scope):
            await self.close(FORBIDDEN_ORIGIN)
            return
        self._session_key = _session_key(self.scope)
        try:
            caller = await self._read_caller() if self._session_key else None
        except DatabaseUnavailableError:
            await self.close(COME_BACK_LATER)
            return
        if caller is None or self._hub.is_full:
            await self.close(LOG_IN if caller is None else COME_BACK_LATER)
            return
        await self.accept()
        self._is_open = True
        self._outbox = Outbox(self._send_text, self._hub.now_ms)
        self._hub.enter(self)
        self._outbox.offer(self._hub.hello())
        for work in (self._outbox.pump(), self._let_in(), self._check_again()):
            self._tasks.append(asyncio.get_running_loop().create_task(self._watched(work)))

    async def dispatch(self, message: dict[str, Any]) -> None:
        """What the server says of the connection.

        Channels would first tidy up database connections, on a thread that all sockets share; ours has none.
        """
        match message["type"]:
            case "websocket.connect":
                await self.connect()
            case "websocket.receive":
                await self.receive(message.get("text"), message.get("bytes"))
            case "websocket.disconnect":
                raise StopConsumer

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        """One of the socket's tasks: a page whose server failed is to come back rather than to stand still."""
        try:
            await work
        except Exception:
            log.exception("socket_failed and is closed")
            await self._close(FAILED)

    async def _send_text(self, text: str) -> None:
        await self.send(text_data=text)

    def _end(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        here = asyncio.current_task()
        for task in self._tasks:
            if task is not here:
                task.cancel()
        for join_id in list(self._places):
            self._leave(join_id)
        self._hub.leave(self)

    async def _close(self, code: int) -> None:
        """Close it from here. What was under way is dropped."""
        if self._is_open:
            self._end()
            await self.close(code)

    # -- what the page says -----------------------------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """A frame. Nothing is waited for here, so that frames don't pile up."""
        if not self._is_open:
            return
        now = self._monotonic()
        if len(self._received) == FRAMES_PER_WINDOW and now - self._received[0] < WINDOW_SECONDS:
            await self._close(TOO_MANY_FRAMES)
            return
        self._received.append(now)
        try:
            frame = frames.read(text_data)
            match frame:
                case Ack():
                    self._outbox.acknowledge(frame.seq)
                case Leave():
                    self._leave(frame.id)
                case Join():
                    self._waiting.put_nowait(frame)
        except FrameProblem as problem:
            self._bad_frames += 1
            self._refuse(Refusal.FRAME, str(problem))
            if self._bad_frames >= MAX_BAD_FRAMES:
                await self._close(BAD_FRAMES)
        except asyncio.QueueFull:
            self._refuse(Refusal.LIMIT, f"more than {MAX_WAITING_JOINS} joins wait; send fewer at once", frame)

    # -- rooms ------------------------------------------------------------------------------------------------------

    async def _let_in(self) -> None:
        while True:
            joins = [await self._waiting.get()]
            # Those that are there already share one look at the database, which comes after all of them.
            while not self._waiting.empty():
                joins.append(self._waiting.get_nowait())
            try:
                caller = await self._read_caller()
            except DatabaseUnavailableError as error:
                for join in joins:
                    self._refuse(Refusal.UNAVAILABLE, f"nobody can say what you may see: {error}", join)
                continue
            if caller is None:
                await self._close(LOG_IN)
                return
            for join in joins:
                self._join(join)

    def _join(self, join: Join) -> None:
        self._leave(join.id)
        room = rooms.find(join.room)
        if room is None and join.room != rooms.TAIL:
            problem = f"there is no room {join.room!r}; allowed are {', '.join(rooms.names())}"
            self._refuse(Refusal.ROOM, problem, join)
            return
        scope = room.scope if room else Scope.READ
        if scope not in self._scopes:
            self._refuse_scope(join.id, join.room, scope)
        elif len(self._places) >= MAX_ROOMS:
            self._refuse(Refusal.LIMIT, f"a page has at most {MAX_ROOMS} rooms; leave one first", join)
        else:
            try:
                place = self._place(join, room)
            except rooms.ParamsProblem as problem:
                self._refuse(Refusal.PARAMS, str(problem), join)
                return
            if place is None:
                self._refuse(Refusal.LIMIT, "this server shows as many different things as it may; try later", join)
            else:
                self._places[join.id] = (place, scope, join)

    def _place(self, join: Join, room: rooms.Room | None) -> Place | None:
        if room is None:
            since = join.since if join.instance == self._hub.instance else None
            return self._hub.tail.join(join.params, self._outbox, join.id, since)
        params = room.validated(join.params)
        return self._hub.renderings.join(room, params, self._scopes, self._outbox, join.id)

    def _leave(self, join_id: int) -> None:
        place = self._places.pop(join_id, None)
        if place is not None:
            place[0].leave()

    def _refuse(self, code: Refusal, problem: str, join: Join | Leave | Ack | None = None) -> None:
        room, join_id = (join.room, join.id) if isinstance(join, Join) else (None, None)
        refused = frames.Refused(as_of=self._hub.now_ms(), code=code, problem=problem[:2000], room=room)
        self._outbox.offer(frames.body(refused), join_id)

    def _refuse_scope(self, join_id: int, room: str, scope: Scope) -> None:
        problem = f"this needs the permission {scope.value}, which you don't have; an administrator can give it"
        now = self._hub.now_ms()
        refused = frames.Refused(as_of=now, code=Refusal.FORBIDDEN, problem=problem, room=room, scope=scope.value)
        self._outbox.offer(frames.body(refused), join_id)

    # -- who it is --------------------------------------------------------------------------------------------------

    async def _read_caller(self) -> Caller | None:
        """Who it is now, None when the login ended. Raises DatabaseUnavailableError."""
        caller = await database_threads().ask(lambda: self._identify(self._session_key))
        if caller is not None:
            self._confirmed_at = self._monotonic()
            self._take_scopes(caller.scopes)
        return caller

    def _take_scopes(self, scopes: frozenset[str]) -> None:
        if scopes == self._scopes:
            return
        self._scopes = scopes
        for join_id, (_, scope, join) in list(self._places.items()):
            room = rooms.find(join.room)
            if scope not in scopes:
                self._leave(join_id)
                self._refuse_scope(join_id, join.room, scope)
            elif room is not None and room.by_scopes:
                # What it shows depends on what the viewer may do.
                self._join(join)

    async def _check_again(self) -> None:
        while True:
            # Not all sockets of a restarted server at the same moment.
            await asyncio.sleep(self._recheck * random.uniform(0.8, 1.0))
            try:
                caller = await self._read_caller()
            except DatabaseUnavailableError:
                if self._monotonic() - self._confirmed_at > GOOD_SECONDS:
                    await self._close(COME_BACK_LATER)
                    return
                continue
            if caller is None:
                await self._close(LOG_IN)
                return

    # -- time -------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Tell the page how old what it shows is."""
        now = self._hub.now_ms()
        places = [place for place, _, _ in self._places.values()]
        known = [as_of for place in places if (as_of := place.as_of_ms) is not None]
        # Of rooms that show nothing yet there is no age; a page without rooms has nothing that gets old.
        as_of = min(known, default=0 if places else now)
        every = max((place.every_ms for place in places), default=0)
        self._outbox.offer(frames.body(frames.Clock(as_of=as_of, now=now, every=every)))


def _session_key(scope: dict[str, Any]) -> str:
    """The session's key, empty without one."""
    given = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
    return parse_cookie(given.decode("latin-1")).get(settings.SESSION_COOKIE_NAME, "")
