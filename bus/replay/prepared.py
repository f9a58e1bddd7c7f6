"""The next batch of a replay, read while the one before is on its way, and its records made.

Reading takes nothing: whoever takes it looks again what still waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Never

from django.db import Error as AnyDatabaseError
from django.db import connections

from bus.errors import BusError
from bus.models import Replay
from bus.replay import batch
from bus.replay.records import Item, Materials, Outgoing, Places


class _NotAtHandError(BusError):
    """The record has to be read from Kafka."""


class _NoPlaces:
    """For a thread that must leave Kafka's reader alone."""

    def read_at(self, topic: str, partition: int, offset: int, timeout: float = 5.0) -> Never:
        raise _NotAtHandError(topic)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Items in their order, the topics that they go to, and what their records are made of."""

    items: Sequence[Item]
    topics: Sequence[str]
    materials: Materials
    made: Mapping[int, Outgoing] = field(default_factory=dict)
    """Records that are there already, by the ids of their items."""

    def records(self, items: Sequence[Item], places: Places, keep: Callable[[], None]) -> list[Outgoing]:
        """The records of those of the items that were taken.

        `keep` is called between two: reading from Kafka can take seconds. Raises BrokerUnavailableError.
        """
        found: list[Outgoing] = []
        for item in items:
            keep()
            found.append(self.made.get(item.pk) or self.materials.outgoing(item, places))
        return found


def these(replay: Replay, items: Sequence[Item], topics: Sequence[str] = ()) -> Prepared:
    """Items that are known."""
    return Prepared(items, topics, Materials.of(replay, items))


def next_batch(replay: Replay, count: int, unknown_size: int) -> Prepared:
    """The next `count` items, as `bus.replay.batch.next_items` finds them."""
    return these(replay, *batch.next_items(replay, count, unknown_size))


class Helper:
    """A thread that prepares batches. It has a connection to the database of its own."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None

    def prepare(self, replay: Replay, count: int, unknown_size: int, after: int) -> Future[Prepared]:
        """The batch behind the sequence `after`, with its records, but for those that are read from Kafka."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "replay")
        return self._thread.submit(_prepare, replay, count, unknown_size, after)

    def close(self) -> None:
        """End the thread and its connection."""
        if self._thread is not None:
            self._thread.submit(connections.close_all).result()
            self._thread.shutdown()
            self._thread = None


def _prepare(replay: Replay, count: int, unknown_size: int, after: int) -> Prepared:
    try:
        found = these(replay, *batch.next_items(replay, count, unknown_size, after))
    except AnyDatabaseError:
        connections.close_all()  # the next one gets a new connection
        raise
    made: dict[int, Outgoing] = {}
    for item in found.items:
        try:
            made[item.pk] = found.materials.outgoing(item, _NoPlaces())
        except _NotAtHandError:
            continue  # by whoever has the reader
    return Prepared(found.items, found.topics, found.materials, made)
