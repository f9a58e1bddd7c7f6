"""The room `events`: transitions as they happen, filtered for each viewer on the server.

Each viewer gets at most 20 rows a second, gathered over a fifth of a second, failures first; what is left out is
counted and said. A viewer that joins gets the last ones that it wants; one that comes back after a lost connection gets
what it missed, as long as that is kept and the server is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import attrgetter

from pydantic import BaseModel, ConfigDict, field_validator

from bus import catalog
from bus.activity import Outcome, Transition
from eventconsole.filters import Field, Filter, FilterProblem, Language
from eventconsole.live import frames
from eventconsole.live.feed import Entry, Feed
from eventconsole.live.outbox import Outbox
from eventconsole.live.rooms import TAIL, validated

log = logging.getLogger(__name__)

ROWS_PER_SECOND = 20
GATHER_SECONDS = 0.2
SHOWN_AT_FIRST = 200
_FAILURES = frozenset({Outcome.FAILED.value, Outcome.RETRYING.value})
_TEXT = ("event_id", "topic", "group", "key", "source", "user_id", "correlation_id", "error", "worker")


def _text(transition: Transition) -> str:
    return "\n".join(str(value) for name in _TEXT if (value := getattr(transition, name)))


def _number(name: str) -> Callable[[Transition], str]:
    return lambda transition: str(getattr(transition, name))


@cache
def language() -> Language[Transition]:
    """The filter language of transitions."""
    return Language(
        [
            Field("topic", "the topic, such as order.*", attrgetter("topic"), lambda: list(catalog.topics())),
            Field("group", "the consumer group", attrgetter("group"), lambda: list(catalog.groups())),
            Field("status", "what happened", attrgetter("outcome"), lambda: list(Outcome)),
            Field("priority", "the priority", attrgetter("priority"), lambda: list(catalog.Priority)),
            Field("source", "who published it, by its own words", attrgetter("source")),
            Field("key", "the key of the record", attrgetter("key")),
            Field("user", "the user id", attrgetter("user_id")),
            Field("correlation", "the correlation id", attrgetter("correlation_id")),
            Field("event", "the event id", attrgetter("event_id")),
            Field("error", "what a failed attempt said, such as SmtpError*", attrgetter("error")),
            Field("attempt", "the number of the attempt", _number("attempt")),
            Field("partition", "the partition", _number("partition")),
            Field("worker", "the worker or producer that said so", attrgetter("worker")),
        ],
        _text,
    )


class TailParams(BaseModel):
    """The parameters of the room."""

    model_config = ConfigDict(extra="forbid")

    filter: str = ""

    @field_validator("filter")
    @classmethod
    def _parsed(cls, value: str) -> str:
        try:
            return str(language().parse(value))
        except FilterProblem as problem:
            raise ValueError(str(problem)) from None


def row(entry: Entry) -> frames.Row:
    """A transition as a page gets it."""
    seq, each = entry
    return frames.Row(
        seq=seq,
        at=each.at_ms,
        outcome=each.outcome,
        event_id=each.event_id,
        topic=each.topic,
        group=each.group,
        partition=each.partition,
        offset=each.offset,
        key=each.key,
        priority=each.priority,
        source=each.source,
        user_id=each.user_id,
        correlation_id=each.correlation_id,
        attempt=each.attempt,
        duration_ms=each.duration_ms,
        error=each.error,
        next_retry_at=each.next_retry_at_ms,
        worker=each.worker,
        generation=each.generation,
    )


class Viewer:
    """One socket's place in the tail."""

    def __init__(self, tail: Tail, filter: Filter[Transition], outbox: Outbox, join_id: int) -> None:
        self._tail = tail
        self._filter = filter
        self._outbox = outbox
        self._join_id = join_id
        self._failures: deque[Entry] = deque(maxlen=ROWS_PER_SECOND)
        self._others: deque[Entry] = deque(maxlen=ROWS_PER_SECOND)
        self._wanted = 0
        self._unseen = 0
        self._budget = float(ROWS_PER_SECOND)

    @property
    def as_of_ms(self) -> int:
        """How old the feed is."""
        return self._tail.feed.as_of_ms

    @property
    def every_ms(self) -> int:
        """How old that may become although all is well."""
        return 0

    def leave(self) -> None:
        """Give the place up."""
        self._outbox.forget(self._join_id)
        self._tail.remove(self)

    def show(self) -> None:
        """Offer the last rows anew."""
        self._forget()
        self._send([entry for entry in self._tail.feed.entries() if self._filter.matches(entry.transition)], reset=True)
        self.show_state()

    def resume(self, since: int) -> None:
        """Offer what came after `since`, or everything anew when some of that isn't kept any more."""
        if not self._tail.feed.reaches(since):
            self.show()
            return
        missed = self._tail.feed.entries(since)
        self._send([entry for entry in missed if self._filter.matches(entry.transition)], reset=False)
        self.show_state()

    def show_state(self) -> None:
        """Say whether the feed is stale."""
        feed = self._tail.feed
        if feed.problem is not None:
            self._offer(frames.Stale(as_of=feed.as_of_ms, room=TAIL, problem=feed.problem))

    def say_fresh(self) -> None:
        """The feed is up to date again."""
        self._offer(frames.Fresh(as_of=self.as_of_ms, room=TAIL))

    def take(self, entries: Sequence[Entry], unseen: int) -> None:
        """Gather what is wanted of it."""
        self._unseen += unseen
        matches = self._filter.matches
        for entry in entries:
            if matches(entry.transition):
                self._wanted += 1
                (self._failures if entry.transition.outcome in _FAILURES else self._others).append(entry)

    def flush(self, seconds: float) -> None:
        """Offer what was gathered in so many seconds, as many rows as the viewer may get."""
        self._budget = min(ROWS_PER_SECOND, self._budget + ROWS_PER_SECOND * seconds)
        if not (self._wanted or self._unseen):
            return
        chosen = list(self._failures)[-int(self._budget) :] if self._budget >= 1 else []
        room = int(self._budget) - len(chosen)
        chosen += list(self._others)[-room:] if room > 0 else []
        self._budget -= len(chosen)
        skipped, unseen = self._wanted - len(chosen), self._unseen
        self._forget()
        self._offer_rows(sorted(chosen), skipped, unseen, reset=False)

    def _send(self, entries: list[Entry], *, reset: bool) -> None:
        skipped = max(len(entries) - SHOWN_AT_FIRST, 0)
        # Older ones than the first shown aren't missed when everything is shown anew.
        self._offer_rows(entries[-SHOWN_AT_FIRST:], 0 if reset else skipped, 0, reset=reset)

    def _offer_rows(self, entries: list[Entry], skipped: int, unseen: int, *, reset: bool) -> None:
        feed = self._tail.feed
        self._offer(
            frames.Rows(
                as_of=feed.as_of_ms,
                room=TAIL,
                rows=[self._tail.row(entry) for entry in entries],
                skipped=skipped,
                unseen=unseen,
                reset=reset,
                last=feed.last_seq,
            )
        )

    def _offer(self, frame: frames.ServerFrame) -> None:
        self._outbox.offer(frames.body(frame), self._join_id, self)

    def _forget(self) -> None:
        self._failures.clear()
        self._others.clear()
        self._wanted = self._unseen = 0


class Tail:
    """All viewers of this process. Used on one event loop."""

    def __init__(self, feed: Feed, *, gather: float = GATHER_SECONDS) -> None:
        self.feed = feed
        self._gather = gather
        self._viewers: set[Viewer] = set()
        self._rows: dict[int, frames.Row] = {}
        self._task: asyncio.Task[None] | None = None
        self._was_stale = False
        feed.listeners.append(self._take)
        feed.state_listeners.append(self._on_state)

    def join(self, params: Mapping[str, str], outbox: Outbox, join_id: int, since: int | None = None) -> Viewer:
        """A new viewer. `since` is the last row that it has of this instance. Raises ParamsProblem."""
        parsed = language().parse(validated(TailParams, params)["filter"])
        viewer = Viewer(self, parsed, outbox, join_id)
        self._viewers.add(viewer)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="tail")
        if since is None:
            viewer.show()
        else:
            viewer.resume(since)
        return viewer

    def remove(self, viewer: Viewer) -> None:
        """A viewer left."""
        self._viewers.discard(viewer)
        if not self._viewers and self._task is not None:
            self._task.cancel()
            self._task = None

    def row(self, entry: Entry) -> frames.Row:
        """The row of an entry: made once, however many viewers get it."""
        found = self._rows.get(entry.seq)
        if found is None:
            found = self._rows[entry.seq] = row(entry)
            while len(self._rows) > SHOWN_AT_FIRST * 5:
                del self._rows[next(iter(self._rows))]
        return found

    def close(self) -> None:
        """Let go of the feed."""
        with contextlib.suppress(ValueError):
            self.feed.listeners.remove(self._take)
            self.feed.state_listeners.remove(self._on_state)
        for viewer in list(self._viewers):
            self.remove(viewer)

    def _take(self, entries: Sequence[Entry], unseen: int) -> None:
        for viewer in self._viewers:
            viewer.take(entries, unseen)

    def _on_state(self) -> None:
        is_stale = self.feed.problem is not None
        for viewer in list(self._viewers):
            if is_stale:
                viewer.show_state()
            else:
                viewer.say_fresh()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(self._gather)
            now = loop.time()
            for viewer in list(self._viewers):
                try:
                    viewer.flush(now - last)
                except Exception:
                    # One browser's rows, and nothing but the picture: the others go on.
                    log.exception("rows_not_shown and dropped")
            last = now
