"""Rooms and what is rendered for them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import orjson
import pytest
from pydantic import BaseModel, ConfigDict

from bus.errors import ConfigurationError
from eventconsole.conf import BASE_DIR
from eventconsole.live import rooms
from eventconsole.live.feed import Entry
from eventconsole.live.outbox import Outbox
from eventconsole.live.renderings import Renderings, Seat
from eventconsole.live.rooms import Content, ParamsProblem, Room
from eventconsole.models import Scope
from tests.unit.live_streams import transition

NOBODY: frozenset[str] = frozenset()


class Watcher:
    """Somebody with seats in rooms."""

    def __init__(self, renderings: Renderings) -> None:
        self.renderings = renderings
        self.got: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outbox = Outbox(self._take, lambda: 1, max_frames=10_000)
        self.pump = asyncio.create_task(self.outbox.pump())
        self.last_id = 0

    async def _take(self, text: str) -> None:
        await self.got.put(orjson.loads(text))

    def join(self, room: Room, scopes: frozenset[str] = NOBODY, **params: str) -> Seat | None:
        self.last_id += 1
        return self.renderings.join(room, room.validated(params), scopes, self.outbox, self.last_id)

    async def hear(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(5):
            while (frame := await self.got.get())["type"] != kind:
                pass
            return frame


@pytest.fixture
async def renderings() -> AsyncIterator[Renderings]:
    made = Renderings(lambda: 1000, most=3, timeout=0.1)
    yield made
    made.close()


@pytest.fixture
async def watcher(renderings: Renderings) -> AsyncIterator[Watcher]:
    watching = Watcher(renderings)
    yield watching
    watching.pump.cancel()


class RangeParams(BaseModel):
    model_config = ConfigDict(extra="forbid")
    range: Literal["15m", "1h"] = "15m"
    group: str | None = None


def test_names_are_taken_once_and_rooms_do_not_render_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "_rooms", {})
    room = rooms.add(Room("a", Scope.READ, 1.0, lambda params: Content()))
    assert rooms.find("a") is room
    assert rooms.names() == ["a", "events"]
    for name in ("a", "events"):
        with pytest.raises(ConfigurationError, match="already"):
            rooms.add(Room(name, Scope.READ, 1.0, lambda params: Content()))
    with pytest.raises(ConfigurationError, match=r"0\.01 s given"):
        rooms.add(Room("b", Scope.READ, 0.01, lambda params: Content()))


def test_parameters_are_those_of_the_room() -> None:
    room = Room("a", Scope.READ, 1.0, lambda params: Content(), RangeParams)
    assert room.validated({}) == {"range": "15m"}
    assert room.validated({"group": "g", "range": "1h"}) == {"group": "g", "range": "1h"}
    with pytest.raises(ParamsProblem, match=r"params.range: Input should be '15m' or '1h'"):
        room.validated({"range": "9y"})
    with pytest.raises(ParamsProblem, match=r"params.x: there is no such parameter, allowed are: range, group"):
        room.validated({"x": "1"})
    with pytest.raises(ParamsProblem, match="allowed are: none"):
        Room("b", Scope.READ, 1.0, lambda params: Content()).validated({"x": "1"})


async def test_the_same_parameters_in_another_order_are_the_same_rendering(
    renderings: Renderings, watcher: Watcher
) -> None:
    room = Room("a", Scope.READ, 0.1, lambda params: Content("<p id='a'>x</p>"), RangeParams)
    watcher.join(room, group="g", range="1h")
    watcher.join(room, range="1h", group="g")
    assert len(renderings) == 1
    watcher.join(room, group="g")
    assert len(renderings) == 2


async def test_only_what_changed_is_sent(watcher: Watcher) -> None:
    numbers = iter(range(1000))

    def render(params: Mapping[str, str]) -> Content:
        number = next(numbers)
        return Content(["<p id='a'>same</p>", f"<p id='b'>{number // 2}</p>", " "], {"n": number // 4})

    watcher.join(Room("a", Scope.READ, 0.1, render))
    assert (await watcher.hear("fragment"))["html"] == "<p id='a'>same</p><p id='b'>0</p>"
    assert (await watcher.hear("data"))["data"] == {"n": 0}
    assert (await watcher.hear("fragment"))["html"] == "<p id='b'>1</p>"
    assert (await watcher.hear("fragment"))["html"] == "<p id='b'>2</p>"
    assert (await watcher.hear("data"))["data"] == {"n": 1}


async def test_renderings_are_bounded(renderings: Renderings, watcher: Watcher) -> None:
    room = Room("a", Scope.READ, 0.1, lambda params: Content(), RangeParams)
    seats = [watcher.join(room, group=str(number)) for number in range(4)]
    assert [seat is not None for seat in seats] == [True, True, True, False]
    assert seats[0] is not None
    seats[0].leave()
    assert watcher.join(room, group="3") is not None


@pytest.mark.expects_errors("room_stale: a: an error of the console")
async def test_a_failure_of_the_console_is_told_without_its_secrets_and_the_last_good_state_stays(
    watcher: Watcher,
) -> None:
    answers: list[Content | Exception] = [Content("<p id='a'>1</p>"), ValueError("password=secret"), Content("<p/>")]

    def render(params: Mapping[str, str]) -> Content:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    watcher.join(Room("a", Scope.READ, 0.1, render))
    await watcher.hear("fragment")
    stale = await watcher.hear("stale")
    assert stale["problem"] == "an error of the console (ValueError); its log has more"
    assert stale["asOf"] == 1000
    await watcher.hear("fresh")


async def test_one_that_takes_too_long_is_stale_and_never_runs_beside_itself(watcher: Watcher) -> None:
    let_go = threading.Event()
    running: list[int] = []
    most: list[int] = []

    def render(params: Mapping[str, str]) -> Content:
        running.append(1)
        most.append(len(running))
        let_go.wait(5)
        running.pop()
        return Content("<p id='a'>x</p>")

    watcher.join(Room("a", Scope.READ, 0.1, render))
    assert "longer than 0.1 s" in (await watcher.hear("stale"))["problem"]
    await asyncio.sleep(0.3)
    let_go.set()
    await watcher.hear("fresh")
    assert max(most) == 1


@pytest.mark.expects_errors("room_stale: a: an error of the console")
async def test_what_is_too_large_is_not_sent(watcher: Watcher) -> None:
    watcher.join(Room("a", Scope.READ, 0.1, lambda params: Content("x" * 1_000_001)))
    await watcher.hear("stale")


async def test_a_room_that_shows_what_the_viewer_may_do_is_rendered_for_each_set_of_scopes(
    renderings: Renderings, watcher: Watcher
) -> None:
    def render(params: Mapping[str, str], scopes: frozenset[str]) -> Content:
        return Content(f"<p id='a'>{','.join(sorted(scopes))}</p>")

    room = Room("a", Scope.READ, 0.1, render, by_scopes=True)
    watcher.join(room, frozenset({"read"}))
    assert (await watcher.hear("fragment"))["html"] == "<p id='a'>read</p>"
    watcher.join(room, frozenset({"read", "replay"}))
    watcher.join(room, frozenset({"replay", "read"}))
    assert (await watcher.hear("fragment"))["html"] == "<p id='a'>read,replay</p>"
    assert len(renderings) == 2


async def test_a_room_about_an_event_does_not_wait_for_its_turn(renderings: Renderings, watcher: Watcher) -> None:
    texts = ["before"]
    room = Room(
        "event",
        Scope.READ,
        60.0,
        lambda params: Content(f"<p id='a'>{texts[-1]}</p>"),
        RangeParams,
        wakes=lambda params, transition: transition.event_id == params["group"],
    )
    watcher.join(room, group="e-1")
    await watcher.hear("fragment")
    texts.append("after")
    renderings.wake([Entry(1, transition("e-2"))])
    await asyncio.sleep(0.3)
    assert watcher.got.empty()
    renderings.wake([Entry(2, transition("e-2")), Entry(3, transition("e-1"))])
    assert "after" in (await watcher.hear("fragment"))["html"]


async def test_rendering_ends_with_the_last_who_looks(renderings: Renderings, watcher: Watcher) -> None:
    rendered = []

    def render(params: Mapping[str, str]) -> Content:
        rendered.append(1)
        return Content("<p id='a'>x</p>")

    room = Room("a", Scope.READ, 0.1, render)
    seats = [watcher.join(room), watcher.join(room)]
    await watcher.hear("fragment")
    for seat in seats:
        assert seat is not None
        seat.leave()
    assert len(renderings) == 0
    count = len(rendered)
    await asyncio.sleep(0.3)
    assert len(rendered) <= count + 1


def test_pages_and_the_rail_have_registered_their_rooms_before_anybody_asks_for_a_page() -> None:
    ask = "import eventconsole.asgi; from eventconsole.live import rooms; print(*rooms.names())"
    printed = subprocess.run(
        [sys.executable, "-c", ask], check=True, capture_output=True, text=True, timeout=60, cwd=BASE_DIR
    ).stdout.split()
    assert {"events", "nav", "overview", "event"} <= set(printed)
