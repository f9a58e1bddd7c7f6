"""What Kafka and the index say of replayed events that the ledger has forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from bus import catalog
from bus.kafka.consumer import Partition
from bus.models import IndexPosition
from bus.replay.arrivals import Arrivals

Place = tuple[str, int, int]
"""Group, and partition and offset in its `.replay` topic."""


class Forgotten:
    """Asks for commits and ends. Used by one thread; raises BrokerUnavailableError."""

    def __init__(
        self,
        open_arrivals: Callable[[], Arrivals],
        committed: Callable[[str, Iterable[Partition]], Mapping[Partition, int]],
    ) -> None:
        self._open_arrivals = open_arrivals
        self._committed = committed
        self._arrivals: Arrivals | None = None

    def read(self, places: Iterable[Place]) -> tuple[set[Place], set[Place]]:
        """Which of the places the group has committed past, and which Kafka deleted before it did."""
        by_group: dict[str, set[Place]] = {}
        for place in places:
            by_group.setdefault(place[0], set()).add(place)
        passed: set[Place] = set()
        lost: set[Place] = set()
        for group, mine in by_group.items():
            topic = catalog.replay_topic(group)
            partitions = sorted({(topic, partition) for _, partition, _ in mine})
            firsts = {place: first for place, (first, _) in self._kafka().reader.offsets(partitions).items()}
            commits = self._committed(group, partitions)
            for place in mine:
                _, partition, offset = place
                if commits.get((topic, partition), 0) > offset:
                    passed.add(place)
                elif firsts.get((topic, partition), 0) > offset:
                    lost.add(place)
        return passed, lost

    def is_indexed(self, dlq_topic: str) -> bool:
        """Whether the index has read all that is in this dead letter topic now."""
        read = dict(IndexPosition.objects.filter(topic=dlq_topic).values_list("partition", "next_offset"))
        ends = self._kafka().ends([dlq_topic])[dlq_topic]
        return bool(ends) and all(read.get(partition, 0) >= end for partition, end in ends.items())

    def close(self) -> None:
        """Let go of the connections."""
        if self._arrivals is not None:
            self._arrivals.reader.close()
            self._arrivals = None

    def _kafka(self) -> Arrivals:
        if self._arrivals is None:
            self._arrivals = self._open_arrivals()
        return self._arrivals
