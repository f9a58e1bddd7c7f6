"""Pages and what is behind their sockets: a stream, a clock and rooms of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from channels.testing import WebsocketCommunicator
from django.conf import settings
from pydantic import BaseModel, ConfigDict

from bus.errors import DatabaseUnavailableError
from eventconsole.api.tokens import Caller
from eventconsole.live.feed import Feed
from eventconsole.live.hub import Hub
from eventconsole.live.renderings import Renderings
from eventconsole.live.rooms import Content, Room
from eventconsole.live.sockets import LiveSocket
from tests.unit.live_streams import FakeStream

READER = Caller("ann", frozenset({"read"}))


class OfParams(BaseModel):
    model_config = ConfigDict(extra="forbid")
    of: str | None = None


async def until(condition: Callable[[], bool]) -> None:
    """Wait, at most five seconds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 -- what is waited for happens on another thread
            await asyncio.sleep(0.001)


class Page:
    """A page's end of a socket."""

    def __init__(self, communicator: WebsocketCommunicator) -> None:
        self.communicator = communicator
        self.seq = 0
        self.frames: list[dict[str, Any]] = []

    async def say(self, **frame: Any) -> None:
        await self.communicator.send_json_to({"v": 1, **frame})

    async def hear(self) -> dict[str, Any]:
        frame: dict[str, Any] = await self.communicator.receive_json_from(timeout=5)
        assert frame["v"] == 1
        assert frame["seq"] == self.seq + 1, "frames come without a gap"
        self.seq = frame["seq"]
        self.frames.append(frame)
        return frame

    async def hear_until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while not is_it(frame := await self.hear()):
            pass
        return frame

    async def hear_a(self, kind: str) -> dict[str, Any]:
        return await self.hear_until(lambda frame: frame["type"] == kind)

    async def closed(self) -> int:
        """The code with which the server closes; frames before that are dropped."""
        while (message := await self.communicator.receive_output(5))["type"] != "websocket.close":
            pass
        code: int = message["code"]
        return code


class Stage:
    """A hub with a stream, a clock and rooms of the test's own, and people by their session keys."""

    def __init__(self, registry: dict[str, Room]) -> None:
        self.stream = FakeStream()
        self.people: dict[str, Caller] = {"ann": READER}
        self.database_is_away = False
        self.rendered = 0
        self.text = "one"
        self.error: Exception | None = None
        self.registry = registry
        self.hub = self.new_hub()
        self.communicators: list[WebsocketCommunicator] = []

    def new_hub(self) -> Hub:
        feed = Feed(lambda: self.stream, pause=0.001, away=0.01)
        return Hub(feed=feed, renderings=Renderings(lambda: 1000, timeout=0.5), second=0.05)

    def identify(self, session_key: str) -> Caller | None:
        if self.database_is_away:
            raise DatabaseUnavailableError("the database is away")
        return self.people.get(session_key)

    def render(self, params: Mapping[str, str]) -> Content:
        self.rendered += 1
        if self.error is not None:
            raise self.error
        return Content(html=[f'<p id="a">{self.text}{params.get("of", "")}</p>', '<p id="b">same</p>'])

    def socket(
        self,
        who: str | None = "ann",
        origin: str = "http://testserver",
        recheck: float = 30.0,
        headers: Mapping[str, str] | None = None,
    ) -> WebsocketCommunicator:
        application = LiveSocket.as_asgi(hub_of=lambda: self.hub, identify=self.identify, recheck=recheck)
        given = {"host": "testserver", "origin": origin, **(headers or {})}
        if who is not None:
            given["cookie"] = f"other=1; {settings.SESSION_COOKIE_NAME}={who}"
        raw = [(name.encode(), value.encode()) for name, value in given.items() if value]
        communicator = WebsocketCommunicator(application, "/ws/live", headers=raw)
        self.communicators.append(communicator)
        return communicator

    async def open(self, who: str = "ann", **options: Any) -> Page:
        page = Page(self.socket(who, **options))
        assert await page.communicator.connect(timeout=5) == (True, None)
        assert (await page.hear())["type"] == "hello"
        return page
