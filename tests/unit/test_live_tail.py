"""The feed, and the tail that viewers see of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest

from bus.activity import Activity
from eventconsole.live.feed import Entry, Feed
from eventconsole.live.outbox import Outbox
from eventconsole.live.rooms import ParamsProblem
from eventconsole.live.tail import Tail, language
from tests.unit.live_streams import FakeStream, transition


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 -- what is waited for happens on another thread
            await asyncio.sleep(0.001)


@pytest.fixture
def stream() -> FakeStream:
    return FakeStream()


@pytest.fixture
async def feed(stream: FakeStream) -> AsyncIterator[Feed]:
    made = Feed(lambda: stream, kept=10, pause=0.0, away=0.01, linger=0.01)
    yield made
    made.stop()


def ids(feed: Feed, after: int = 0) -> list[str]:
    return [entry.transition.event_id for entry in feed.entries(after)]


# -- the feed -----------------------------------------------------------------------------------------------------


async def test_it_begins_with_what_is_recent_and_goes_on_without_a_gap(stream: FakeStream, feed: Feed) -> None:
    stream.append(transition("a"), transition("b"))
    feed.use()
    await until(lambda: feed.last_seq == 2)
    stream.append(transition("c"))
    await until(lambda: feed.last_seq == 3)
    assert ids(feed) == ["a", "b", "c"]
    assert feed.as_of_ms > 1_700_000_000_000


async def test_it_keeps_a_bounded_number_and_knows_how_far_back_that_reaches(stream: FakeStream, feed: Feed) -> None:
    feed.use()
    for number in range(25):
        stream.append(transition(str(number)))
    await until(lambda: feed.last_seq == 25)
    assert ids(feed) == [str(number) for number in range(15, 25)]
    assert ids(feed, after=23) == ["23", "24"]
    assert [feed.reaches(seq) for seq in (14, 15, 25, 26)] == [False, True, True, False]


async def test_it_says_when_redis_is_away_and_goes_on_where_it_was(stream: FakeStream, feed: Feed) -> None:
    stream.append(transition("a"))
    feed.use()
    await until(lambda: feed.last_seq == 1)
    stream.is_away = True
    await until(lambda: feed.problem is not None)
    as_of = feed.as_of_ms
    stream.append(transition("b"))
    await asyncio.sleep(0.03)
    assert (feed.as_of_ms, ids(feed)) == (as_of, ["a"])
    stream.is_away = False
    await until(lambda: feed.problem is None)
    await until(lambda: ids(feed) == ["a", "b"])


async def test_one_thread_reads_for_all_and_ends_after_the_last(stream: FakeStream, feed: Feed) -> None:
    def readers() -> int:
        return sum(thread.name == "console-feed" for thread in threading.enumerate())

    await until(lambda: readers() == 0)
    for _ in range(5):
        feed.use()
    await until(lambda: stream.reads > 3)
    assert readers() == 1
    for _ in range(5):
        feed.release()
    await until(lambda: not feed.is_reading)
    await until(lambda: readers() == 0)
    stream.append(transition("a"))
    feed.use()
    await until(lambda: ids(feed) == ["a"])


async def test_going_from_page_to_page_does_not_end_it(stream: FakeStream, feed: Feed) -> None:
    feed.use()
    feed.release()
    feed.use()
    await asyncio.sleep(0.05)
    assert feed.is_reading


async def test_after_hours_without_viewers_only_what_is_new_is_read_and_nobody_goes_on_from_before(
    stream: FakeStream,
) -> None:
    clock = [1_000_000]
    feed = Feed(lambda: stream, now_ms=lambda: clock[0], kept=1000, pause=0.0, linger=0.0)
    stream.append(transition("a"))
    feed.use()
    await until(lambda: feed.last_seq == 1)
    feed.stop()
    for number in range(500):
        stream.append(transition(str(number)))
    clock[0] += 3_600_000
    feed.use()
    feed.use()
    await until(lambda: ids(feed)[-1:] == ["499"])
    assert len(ids(feed)) < 100
    assert not feed.reaches(1)
    feed.stop()


@pytest.mark.expects_errors("feed_failed and goes on")
async def test_an_error_of_its_own_does_not_end_it(
    stream: FakeStream, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = stream.read

    def fail(*args: Any) -> list[Activity]:
        raise ZeroDivisionError

    monkeypatch.setattr(stream, "read", fail)
    feed.use()
    await until(lambda: feed.problem is not None)
    monkeypatch.setattr(stream, "read", good)
    stream.append(transition("a"))
    await until(lambda: feed.last_seq == 1)


# -- the tail -----------------------------------------------------------------------------------------------------


class Viewing:
    """A page that looks at the tail."""

    def __init__(self, tail: Tail, filter: str = "") -> None:
        self.sent: list[dict[str, Any]] = []
        self.outbox = Outbox(self._take, lambda: 1, max_frames=10_000, max_bytes=10**9)
        self.viewer = tail.join({"filter": filter}, self.outbox, 1)

    async def _take(self, text: str) -> None:
        self.sent.append(orjson.loads(text))

    async def rows(self) -> list[dict[str, Any]]:
        task = asyncio.create_task(self.outbox.pump())
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
async def tail(feed: Feed) -> AsyncIterator[Tail]:
    made = Tail(feed, gather=3600)
    yield made
    made.close()


def entries(count: int, **fields: Any) -> list[Entry]:
    return [Entry(number, transition(str(number), **fields)) for number in range(1, count + 1)]


async def test_a_viewer_gets_twenty_rows_a_second_and_hears_of_the_rest(tail: Tail) -> None:
    viewing = Viewing(tail)
    await viewing.rows()
    shown = skipped = 0
    for _ in range(50):  # ten seconds of 500 a second
        viewing.viewer.take(entries(100), 0)
        viewing.viewer.flush(0.2)
        for frame in await viewing.rows():
            shown += len(frame["rows"])
            skipped += frame["skipped"]
    assert 200 <= shown <= 220
    assert shown + skipped == 5000


async def test_failures_come_first_and_rows_in_their_order(tail: Tail) -> None:
    viewing = Viewing(tail)
    await viewing.rows()
    many = entries(100)
    many[3:5] = [Entry(4, transition("x", outcome="failed")), Entry(5, transition("y", outcome="retrying"))]
    viewing.viewer.take(many, 7)
    viewing.viewer.flush(0.2)
    (frame,) = await viewing.rows()
    assert [row["eventId"] for row in frame["rows"][:2]] == ["x", "y"]
    assert [row["seq"] for row in frame["rows"]] == sorted(row["seq"] for row in frame["rows"])
    assert (len(frame["rows"]), frame["skipped"], frame["unseen"]) == (20, 80, 7)


async def test_what_nobody_wanted_is_not_skipped(tail: Tail) -> None:
    viewing = Viewing(tail, "status:failed")
    await viewing.rows()
    viewing.viewer.take(entries(100), 0)
    viewing.viewer.flush(0.2)
    assert await viewing.rows() == []


async def test_a_viewer_that_missed_frames_is_shown_the_last_rows_anew(tail: Tail, stream: FakeStream) -> None:
    viewing = Viewing(tail, "topic:order.*")
    tail.feed.use()
    stream.append(transition("a", topic="order.created"), transition("b"))
    await until(lambda: tail.feed.last_seq == 2)
    await viewing.rows()
    viewing.viewer.show()
    (frame,) = await viewing.rows()
    assert (frame["reset"], [row["eventId"] for row in frame["rows"]]) == (True, ["a"])


async def test_coming_back_for_what_is_not_kept_any_more_shows_all_anew(tail: Tail, stream: FakeStream) -> None:
    tail.feed.use()
    for number in range(25):
        stream.append(transition(str(number)))
    await until(lambda: tail.feed.last_seq == 25)
    for since, reset, first in ((3, True, "15"), (20, False, "20"), (99, True, "15")):
        viewing = Viewing(tail)
        await viewing.rows()
        viewing.viewer.resume(since)
        (frame,) = await viewing.rows()
        assert (frame["reset"], frame["rows"][0]["eventId"]) == (reset, first)


async def test_a_filter_that_is_not_good_is_refused_with_its_place(tail: Tail) -> None:
    with pytest.raises(ParamsProblem, match=r"params.filter: character 1: there is no field 'topik'; did you mean"):
        tail.join({"filter": "topik:x"}, Outbox(None, lambda: 1), 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "topic:order.* status:retrying user:u-7 timeout -source:web",
        "group:email-service-group priority:critical,high key:order-* correlation:c-1 event:e-1 attempt:2",
        'error:"SmtpError: refused" partition:3 worker:web-1*',
    ],
)
def test_the_language_knows_the_fields_of_a_transition(text: str) -> None:
    parsed = language().parse(text)
    row = transition(
        "e-1",
        topic="order.created",
        outcome="retrying",
        user_id="u-7",
        error="SmtpError: refused",
        priority="high",
        key="order-7",
        correlation_id="c-1",
        attempt=2,
        partition=3,
        worker="web-17",
    )
    assert parsed.matches(row) is ("timeout" not in text)
