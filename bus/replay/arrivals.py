"""What is in Kafka: where topics end, and which records of a batch have arrived."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from bus.errors import BrokerUnavailableError
from bus.kafka.consumer import Partition, Record, headers_of
from bus.replay.lease import Ends
from bus.replay.records import Mark, mark_of

READ_SECONDS = 30.0
QUIET_SECONDS = 5.0


class Reader(Protocol):
    """Reads records from given places: `bus.kafka.reader.RecordReader`."""

    def assign(self, places: Mapping[Partition, int]) -> None: ...
    def read(self, count: int, timeout: float) -> list[Record]: ...
    def offsets(self, partitions: Iterable[Partition], timeout: float = 5.0) -> dict[Partition, tuple[int, int]]: ...
    def read_at(self, topic: str, partition: int, offset: int, timeout: float = 5.0) -> Record | None: ...
    def close(self) -> object: ...


class Arrivals:
    """Asks Kafka about the topics that replays are sent to. Used by one thread."""

    def __init__(
        self, reader: Reader, topics: Callable[[], Mapping[str, int]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`topics` returns the cluster's topics and their numbers of partitions."""
        self.reader = reader
        self._topics = topics
        self._clock = clock

    def ends(self, topics: Iterable[str]) -> Ends:
        """Where the topics end; one that doesn't exist has no partitions."""
        return {
            topic: {partition: end for partition, (_, end) in places.items()}
            for topic, places in self._offsets(topics).items()
        }

    def since(self, ends: Ends, wanted: Iterable[Mark]) -> dict[Mark, tuple[int, int]]:
        """Partition and offset of those of the wanted records that were written since the topics ended at `ends`.

        Raises BrokerUnavailableError when that can't be said for certain.
        """
        missing = set(wanted)
        starts: dict[Partition, int] = {}
        stops: dict[Partition, int] = {}
        for topic, places in self._offsets(ends).items():
            for partition, (first, end) in places.items():
                before = ends[topic].get(partition, 0)
                # A topic that ends before was made anew; its records may all have come since.
                start = max(first, before) if before <= end else first
                if start < end:
                    starts[topic, partition], stops[topic, partition] = start, end
        found: dict[Mark, tuple[int, int]] = {}
        self.reader.assign(starts)
        deadline = self._clock() + READ_SECONDS
        quiet_since = self._clock()
        try:
            while stops:
                if self._clock() >= deadline:
                    raise BrokerUnavailableError(f"what arrived couldn't be read back within {READ_SECONDS:g} s")
                records = self.reader.read(1000, 0.5)
                if records:
                    quiet_since = self._clock()
                elif self._clock() - quiet_since >= QUIET_SECONDS:
                    # The last places hold no records, as after a transaction; Kafka itself still answers.
                    self.reader.offsets(stops)
                    break
                for record in records:
                    place = (record.topic(), record.partition())
                    mark = mark_of(place[0], headers_of(record))
                    if mark in missing:
                        found.setdefault(mark, (place[1], record.offset()))
                    if record.offset() + 1 >= stops.get(place, 0):
                        stops.pop(place, None)
        finally:
            self.reader.assign({})
        return found

    def _offsets(self, topics: Iterable[str]) -> dict[str, dict[int, tuple[int, int]]]:
        wanted = list(topics)
        if not wanted:
            return {}
        known = self._topics()
        partitions = [(topic, number) for topic in wanted for number in range(known.get(topic, 0))]
        found: dict[str, dict[int, tuple[int, int]]] = {topic: {} for topic in wanted}
        for (topic, partition), offsets in self.reader.offsets(partitions).items():
            found[topic][partition] = offsets
        return found
