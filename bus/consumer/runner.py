"""The poll loop of one group: the one thread that touches the Kafka consumer.

It polls, whatever happens: a handler that hangs, Redis away or a full window pause partitions, and never cost the
membership. It commits what the dispatcher says may be committed, about once a second, and in full when partitions are
taken away and at the end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from bus import catalog, conf
from bus.consumer.dispatcher import Dispatcher
from bus.consumer.work import Decoder
from bus.handlers import Handler
from bus.kafka.consumer import OnPartitions, Partition, Record
from bus.ledger.mirror import Pause

log = logging.getLogger("bus.consumer")

_POLL_SECONDS = 0.1
_MOST_RECORDS = 1000
# How long the poll thread lets the dispatcher catch up before it pauses a partition: a pause throws away what the
# client has fetched ahead, which a short wait doesn't.
_CATCH_UP_SECONDS = 0.2
_COMMIT_ALL_SECONDS = 30.0
_LEAD_EVENTS = 2000
_LEAD_SECONDS = 0.02


class RecordSource(Protocol):
    """A member of a consumer group; `bus.kafka.consumer.RecordConsumer`."""

    def subscribe(
        self, topics: list[str], on_assign: OnPartitions, on_revoke: OnPartitions, on_lost: OnPartitions
    ) -> None: ...
    def consume(self, count: int, timeout: float) -> list[Record]: ...
    def pause(self, partitions: Iterable[Partition]) -> None: ...
    def resume(self, partitions: Iterable[Partition]) -> None: ...
    def commit(self, offsets: Mapping[Partition, int], *, wait: bool) -> None: ...
    def has_lost_commits(self) -> bool: ...
    def close(self) -> None: ...


class Runner:
    """Consumes the topics of one group's handlers, and its replay topic, until told to stop."""

    def __init__(
        self,
        group: str,
        handlers: Mapping[str, Handler],
        source: RecordSource,
        dispatcher: Dispatcher,
        *,
        settings: conf.BusSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings or conf.current()
        self.group = group
        self.topics = [*sorted(handlers), catalog.replay_topic(group)]
        self.dispatcher = dispatcher
        self.joined = threading.Event()
        self.polled_at = clock()
        self._source = source
        self._decoder = Decoder(group, handlers)
        self._clock = clock
        self._sleep = sleep
        self._stopping = threading.Event()
        self._assigned: set[Partition] = set()
        self._paused: set[Partition] = set()  # their window is full
        self._steered: set[Partition] = set()  # somebody paused them
        self._pause = Pause()
        self._committed: dict[Partition, int] = {}
        self._commit_at = self._commit_all_at = 0.0

    def stop(self) -> None:
        """Finish what runs, commit, leave the group. Returns at once; may be called from a signal handler."""
        self._stopping.set()

    def pause(self, pause: Pause) -> None:
        """Read and start nothing that the pause covers, until another one is given. Called by any thread."""
        self._pause = pause
        self.dispatcher.pause(pause)

    @property
    def paused(self) -> Pause:
        """What is paused."""
        return self._pause

    def assigned(self) -> list[Partition]:
        """The partitions that are ours; a snapshot."""
        return sorted(self._assigned)

    def full(self) -> frozenset[Partition]:
        """The partitions that aren't read any further for now, because so many events are in hand; a snapshot."""
        return frozenset(self._paused.copy())

    def run(self) -> None:
        """Consume until `stop`. Raises what broke the dispatcher, or an error that the consumer can't recover from."""
        self.dispatcher.start()
        self._source.subscribe(self.topics, self._on_assign, self._on_revoke, self._on_lost)
        try:
            while not self._stopping.is_set():
                self.poll_once()
            self._drain()
        finally:
            self._source.close()
            self.dispatcher.end(timeout=5.0)
        if self.dispatcher.failure is not None:
            raise self.dispatcher.failure

    def poll_once(self) -> None:
        """One round: read, hand over, pause and resume, commit."""
        records = self._source.consume(_MOST_RECORDS, _POLL_SECONDS)
        now = self.polled_at = self._clock()
        if records:
            # Records of a partition that was taken away during this very call may still be among them.
            works = []
            for record in records:
                source = (record.topic(), record.partition())
                if source in self._assigned:
                    works.append(self._decoder.decode(record, source))
            self.dispatcher.take_in(works)
            self._let_catch_up()
        self._regulate()
        if now >= self._commit_at:
            self._commit_at = now + self.settings.commit_interval
            self._commit(now)
        if not self.dispatcher.is_alive():
            self._stopping.set()

    # -- flow -------------------------------------------------------------------------------------------------------

    def _let_catch_up(self) -> None:
        """Don't read far ahead of what is being worked on: it only costs memory, and the dispatcher's time."""
        deadline = self._clock() + _LEAD_SECONDS
        while self.dispatcher.backlog > _LEAD_EVENTS and self._clock() < deadline:
            self._sleep(0.001)

    def _regulate(self) -> None:
        self._steer()
        full = self._full()
        if full - self._paused:
            deadline = self._clock() + _CATCH_UP_SECONDS
            while full - self._paused and self._clock() < deadline:
                self._sleep(0.005)
                full = self._full()
            if fresh := full - self._paused:
                self._source.pause(fresh)
                self._paused |= fresh
        room = {each for each in self._paused if self._is_half_empty(each)}
        if room:
            self._paused -= room
            if room := room - self._steered:
                self._source.resume(room)

    def _steer(self) -> None:
        pause = self._pause
        # Of the replay topic only all is paused here: it may hold events of other topics, too.
        steered = {each for each in self._assigned if pause.covers(each[0])}
        if fresh := steered - self._steered:
            self._source.pause(fresh)
        freed, self._steered = self._steered & self._assigned - steered, steered
        if freed := freed - self._paused:
            self._source.resume(freed)

    def _full(self) -> set[Partition]:
        settings, held = self.settings, self.dispatcher.held
        return {
            each
            for each in self._assigned
            if (in_hand := held(each))[0] >= settings.window_events or in_hand[1] >= settings.window_bytes
        }

    def _is_half_empty(self, partition: Partition) -> bool:
        events, size = self.dispatcher.held(partition)
        return events * 2 <= self.settings.window_events and size * 2 <= self.settings.window_bytes

    def _commit(self, now: float) -> None:
        if self._source.has_lost_commits() or now >= self._commit_all_at:
            # There may be no later event to make up for a commit that failed.
            self._commit_all_at = now + _COMMIT_ALL_SECONDS
            self._committed.clear()
        ready = self.dispatcher.committable.get
        offsets = ((each, ready(each)) for each in self._assigned)
        moved = {each: next_ for each, next_ in offsets if next_ is not None and self._committed.get(each) != next_}
        self._source.commit(moved, wait=False)
        self._committed.update(moved)

    # -- rebalance --------------------------------------------------------------------------------------------------

    def _on_assign(self, partitions: list[Partition]) -> None:
        log.info("partitions_assigned", extra={"group": self.group, "partitions": _names(partitions)})
        self._assigned.update(partitions)
        # One that was paused when it was taken away comes back paused.
        self._source.resume(partitions)
        self._paused.difference_update(partitions)
        self._steered.difference_update(partitions)  # paused again before the next poll
        self.dispatcher.assign(partitions)
        self.joined.set()

    def _on_revoke(self, partitions: list[Partition]) -> None:
        """Runs inside `consume`; when it returns, another worker gets the partitions."""
        if not self._assigned.intersection(partitions):
            return  # the source is being closed, and they were let go before
        log.info("partitions_revoked", extra={"group": self.group, "partitions": _names(partitions)})
        self._let_go(partitions, drain_seconds=self.settings.drain_seconds, commit=True)

    def _on_lost(self, partitions: list[Partition]) -> None:
        """The partitions are somebody else's already: no commit of ours counts, and waiting helps nobody."""
        log.warning("partitions_lost", extra={"group": self.group, "partitions": _names(partitions)})
        self._let_go(partitions, drain_seconds=0.0, commit=False)

    def _let_go(self, partitions: list[Partition], *, drain_seconds: float, commit: bool) -> None:
        self.dispatcher.revoke(partitions).done.wait(drain_seconds)
        offsets = self.dispatcher.release(partitions)
        if commit:
            self._source.commit(offsets, wait=True)
        self._assigned.difference_update(partitions)
        self._paused.difference_update(partitions)
        self._steered.difference_update(partitions)
        for each in partitions:
            self._committed.pop(each, None)

    def _drain(self) -> None:
        """At the end: what runs may finish, what doesn't run is left for the next worker."""
        self.dispatcher.drain()
        self._let_go(list(self._assigned), drain_seconds=self.settings.drain_seconds, commit=True)


def _names(partitions: Iterable[Partition]) -> list[str]:
    return [f"{topic}[{partition}]" for topic, partition in sorted(partitions)]
