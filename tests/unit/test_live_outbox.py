"""How much of what a page is sent may be under way, and what happens beyond."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from eventconsole.live import frames
from eventconsole.live.frames import FrameProblem, Fresh
from eventconsole.live.outbox import Outbox


class Room:
    """A member that shows itself in frames of a given size."""

    def __init__(self, outbox: Outbox, join_id: int, size: int = 1) -> None:
        self.outbox, self.join_id, self.size = outbox, join_id, size
        self.shown = 0

    def show(self) -> None:
        self.shown += 1
        self.outbox.offer(body("shown" + "x" * self.size), self.join_id, self)

    def change(self) -> bool:
        return self.outbox.offer(body("changed"), self.join_id, self)


def body(room: str) -> bytes:
    return frames.body(Fresh(as_of=1, room=room))


class Line:
    """What was sent."""

    def __init__(self, **limits: int) -> None:
        self.sent: list[dict[str, Any]] = []
        self.outbox = Outbox(self.take, lambda: 5, **limits)

    async def take(self, text: str) -> None:
        self.sent.append(orjson.loads(text))

    async def settle(self) -> list[dict[str, Any]]:
        """Let the pump send all, and take what it sent."""
        task = asyncio.create_task(self.outbox.pump())
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()
        sent, self.sent = self.sent, []
        return sent


async def test_frames_are_numbered_and_carry_their_room() -> None:
    line = Line()
    line.outbox.offer(body("a"))
    line.outbox.offer(body("b"), 7)
    first, second = await line.settle()
    assert first == {"v": 1, "seq": 1, "asOf": 1, "type": "fresh", "room": "a"}
    assert second == {"v": 1, "seq": 2, "id": 7, "asOf": 1, "type": "fresh", "room": "b"}


async def test_beyond_the_limit_nothing_is_kept_and_rooms_are_shown_anew_after_the_next_acknowledgement() -> None:
    line = Line(max_frames=3)
    one, two = Room(line.outbox, 1), Room(line.outbox, 2)
    assert [one.change() for _ in range(5)] == [True, True, True, False, False]
    assert not two.change()
    assert line.outbox.is_behind
    assert len(await line.settle()) == 3
    line.outbox.acknowledge(3)
    resync, *shown = await line.settle()
    assert resync["type"] == "resync"
    assert [frame["id"] for frame in shown] == [1, 2]
    assert not line.outbox.is_behind
    assert (one.shown, two.shown) == (1, 1), "once, however many frames were left out"


async def test_a_room_that_was_left_out_gets_no_change_before_it_is_shown_whole() -> None:
    line = Line(max_frames=4)
    one, two = Room(line.outbox, 1), Room(line.outbox, 2)
    for _ in range(5):
        one.change()
    two.change()
    await line.settle()
    line.outbox.acknowledge(1)
    # There is room for the resync only.
    assert [frame["type"] for frame in await line.settle()] == ["resync"]
    assert not one.change(), "a change to what the page doesn't have"
    line.outbox.acknowledge(5)
    assert {frame.get("id") for frame in await line.settle()} == {None, 1, 2}
    assert one.change()


async def test_rooms_that_are_larger_together_than_what_may_be_under_way_come_one_after_the_other() -> None:
    line = Line(max_bytes=1000)
    many = [Room(line.outbox, number, size=900) for number in range(5)]
    line.outbox.offer(body("x" * 2000))
    for room in many:
        room.change()
    seen: list[int] = []
    for _ in range(20):
        for frame in await line.settle():
            seen += [frame["id"]] if "id" in frame else []
            last = frame["seq"]
        line.outbox.acknowledge(last)
    assert seen == [0, 1, 2, 3, 4]
    assert line.outbox.bytes_under_way == 0


async def test_a_page_that_reads_nothing_costs_a_bounded_amount() -> None:
    line = Line(max_bytes=10_000, max_frames=100)
    room = Room(line.outbox, 1)
    for _ in range(100_000):
        room.change()
        line.outbox.offer(body("clock"))
    assert line.outbox.bytes_under_way < 11_000
    assert len(await line.settle()) <= 100


async def test_a_room_that_is_left_is_not_shown_anew() -> None:
    line = Line(max_frames=1)
    room = Room(line.outbox, 1)
    room.change()
    room.change()
    line.outbox.forget(1)
    line.outbox.acknowledge(1)
    assert room.shown == 0


async def test_what_was_never_sent_cannot_be_acknowledged() -> None:
    line = Line()
    line.outbox.offer(body("a"))
    with pytest.raises(FrameProblem, match="2 was never sent; allowed are up to 1"):
        line.outbox.acknowledge(2)
    line.outbox.acknowledge(1)
    line.outbox.acknowledge(0)
