"""What pages are shown over their sockets, and what happens when they read slowly or talk rubbish."""

from __future__ import annotations

from typing import Any

import pytest

from bus.errors import LedgerUnavailableError
from tests.api.live_stage import Stage, until
from tests.unit.live_streams import transition

# -- rooms --------------------------------------------------------------------------------------------------------


async def test_a_room_is_shown_at_once_and_then_what_changes(stage: Stage) -> None:
    page = await stage.open()
    await page.say(type="join", id=1, room="things")
    first = await page.hear_a("fragment")
    assert (first["id"], first["html"]) == (1, '<p id="a">one</p><p id="b">same</p>')
    assert first["asOf"] == 1000
    stage.text = "two"
    assert (await page.hear_a("fragment"))["html"] == '<p id="a">two</p>', "what didn't change isn't sent"


async def test_two_pages_in_a_room_cost_one_rendering(stage: Stage) -> None:
    pages = [await stage.open() for _ in range(5)]
    for page in pages:
        await page.say(type="join", id=1, room="things")
        await page.hear_a("fragment")
    assert len(stage.hub.renderings) == 1
    for page in pages:
        await page.say(type="leave", id=1)
    await until(lambda: len(stage.hub.renderings) == 0)


async def test_what_fails_to_render_is_stale_and_becomes_fresh_again(stage: Stage) -> None:
    page = await stage.open()
    await page.say(type="join", id=1, room="things")
    await page.hear_a("fragment")
    stage.error = LedgerUnavailableError("Redis can't be used")
    stale = await page.hear_a("stale")
    assert (stale["id"], stale["problem"], stale["asOf"]) == (1, "Redis can't be used", 1000)
    late = await stage.open()
    await late.say(type="join", id=7, room="things")
    assert (await late.hear_until(lambda frame: "room" in frame))["type"] == "fragment", "the last good state"
    assert (await late.hear_until(lambda frame: "room" in frame))["type"] == "stale", "and that it is old"
    stage.error = None
    assert (await page.hear_a("fresh"))["id"] == 1


@pytest.mark.parametrize(
    ("frame", "code", "says"),
    [
        ({"type": "join", "id": 1, "room": "nowhere"}, "room", "things"),
        ({"type": "join", "id": 1, "room": "things", "params": {"x": "1"}}, "params", "of"),
        ({"type": "join", "id": 1, "room": "events", "params": {"filter": "topik:a"}}, "params", "topic"),
        ({"type": "join", "id": -1, "room": "things"}, "frame", "id"),
        ({"type": "join", "id": 1, "room": "things", "more": 1}, "frame", "more"),
        ({"type": "join", "id": 1, "room": "things", "params": {"of": 1}}, "frame", "params.of"),
        ({"type": "dance"}, "frame", '"join"'),
        ({"type": "ack", "seq": 99}, "frame", "never sent"),
        ({"type": "leave", "id": 1, "v": 2}, "frame", "version 1"),
    ],
)
async def test_a_frame_that_is_not_good_is_refused_and_says_why(
    stage: Stage, frame: dict[str, Any], code: str, says: str
) -> None:
    page = await stage.open()
    await page.say(**frame)
    refused = await page.hear_a("refused")
    assert refused["code"] == code
    assert says in refused["problem"]
    await page.say(type="join", id=2, room="things")
    assert (await page.hear_a("fragment"))["id"] == 2, "the socket stays open"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '{"v":1}', "x" * 20_000])
async def test_text_that_is_no_frame_is_refused(stage: Stage, text: str) -> None:
    page = await stage.open()
    await page.communicator.send_input({"type": "websocket.receive", "text": text})
    assert (await page.hear_a("refused"))["code"] == "frame"
    await page.communicator.send_input({"type": "websocket.receive", "bytes": b"\x00"})
    assert (await page.hear_a("refused"))["code"] == "frame"


async def test_a_page_that_only_sends_rubbish_is_closed(stage: Stage) -> None:
    page = await stage.open()
    for _ in range(20):
        await page.communicator.send_to(text_data="rubbish")
    assert await page.closed() == 4400


async def test_a_page_that_sends_too_much_is_closed(stage: Stage) -> None:
    page = await stage.open()
    for _ in range(201):
        await page.say(type="ack", seq=1)
    assert await page.closed() == 4429


async def test_rooms_of_a_page_are_bounded(stage: Stage) -> None:
    page = await stage.open()
    for number in range(21):
        await page.say(type="join", id=number, room="things", params={"of": str(number)})
    refused = await page.hear_a("refused")
    assert (refused["code"], refused["id"]) == ("limit", 20)


# -- the tail -----------------------------------------------------------------------------------------------------


async def test_the_tail_shows_what_each_viewer_wants(stage: Stage) -> None:
    stage.stream.append(transition("old", topic="order.created"), transition("other", topic="user.deleted"))
    page, everything = await stage.open(), await stage.open()
    await until(lambda: stage.hub.feed.last_seq > 0)
    await page.say(type="join", id=1, room="events", params={"filter": "topic:order.* -status:failed"})
    first = await page.hear_a("rows")
    assert (first["reset"], [row["eventId"] for row in first["rows"]]) == (True, ["old"])
    await everything.say(type="join", id=1, room="events")
    assert len((await everything.hear_a("rows"))["rows"]) == 2
    stage.stream.append(
        transition("new", topic="order.shipped"),
        transition("broken", topic="order.shipped", outcome="failed"),
        transition("not wanted"),
        skipped=3,
    )
    more = await page.hear_a("rows")
    assert (more["reset"], [row["eventId"] for row in more["rows"]]) == (False, ["new"])
    assert (more["skipped"], more["unseen"]) == (0, 3)


async def test_a_page_that_comes_back_gets_what_it_missed_unless_the_server_is_another(stage: Stage) -> None:
    page = await stage.open()
    instance = page.frames[0]["instance"]
    await page.say(type="join", id=1, room="events")
    await page.hear_a("rows")
    stage.stream.append(transition("seen"))
    last = (await page.hear_a("rows"))["last"]
    await page.communicator.disconnect(timeout=5)
    stage.stream.append(transition("missed"))
    await until(lambda: stage.hub.feed.last_seq > last)
    again = await stage.open()
    await again.say(type="join", id=1, room="events", since=last, instance=instance)
    rows = await again.hear_a("rows")
    assert (rows["reset"], [row["eventId"] for row in rows["rows"]]) == (False, ["missed"])
    before, stage.hub = stage.hub, stage.new_hub()
    restarted = await stage.open()
    await restarted.say(type="join", id=1, room="events", since=last, instance=instance)
    assert (await restarted.hear_a("rows"))["reset"] is True
    before.close()


async def test_the_tail_says_when_redis_is_away(stage: Stage) -> None:
    page = await stage.open()
    await page.say(type="join", id=1, room="events")
    await page.hear_a("rows")
    stage.stream.is_away = True
    assert "Redis" in (await page.hear_a("stale"))["problem"]
    stage.stream.is_away = False
    await page.hear_a("fresh")


# -- reading slowly -----------------------------------------------------------------------------------------------


async def test_a_page_that_does_not_read_is_shown_everything_anew_and_slows_nobody(stage: Stage) -> None:
    slow, fast = await stage.open(), await stage.open()
    for page in (slow, fast):
        await page.say(type="join", id=1, room="things")
        await page.hear_a("fragment")
    for number in range(1000):
        if slow.seq + slow.communicator.output_queue.qsize() == 100:
            break
        stage.text = f"text {number}"
        seen = await fast.hear_a("fragment")
        assert seen["html"] == f'<p id="a">text {number}</p>', "the fast one sees each change"
        await fast.say(type="ack", seq=fast.seq)
    got = [await slow.hear() for _ in range(slow.communicator.output_queue.qsize())]
    stage.text = "now"
    await fast.hear_a("fragment")
    assert slow.seq == 100, "no more than may be under way"
    assert await slow.communicator.receive_nothing(0.2)
    await slow.say(type="ack", seq=slow.seq)
    assert got[-1]["type"] != "resync"
    assert (await slow.hear())["type"] == "resync"
    assert (await slow.hear())["html"] == f'<p id="a">{stage.text}</p><p id="b">same</p>', "as it is now, all of it"


async def test_the_clock_tells_how_old_the_page_is(stage: Stage) -> None:
    page = await stage.open()
    assert (await page.hear_a("clock"))["asOf"] > 1_700_000_000_000
    await page.say(type="join", id=1, room="things")
    await page.hear_a("fragment")
    assert (await page.hear_a("clock"))["asOf"] == 1000
    assert (await page.hear_a("clock"))["every"] == 100
