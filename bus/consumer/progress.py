"""How far a dispatcher has come in each of its partitions."""

from __future__ import annotations

from collections.abc import Iterable

from bus.consumer.offsets import Watermark
from bus.consumer.work import Work
from bus.kafka.consumer import Partition


class Progress:
    """The watermarks of the assigned partitions. The dispatcher writes, the poll thread reads `committable`."""

    def __init__(self) -> None:
        #: Next offsets that may be committed.
        self.committable: dict[Partition, int] = {}
        self._watermarks: dict[Partition, Watermark] = {}
        self._moved: set[Partition] = set()
        self._leaving: set[Partition] = set()

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Partitions that are ours from now on."""
        for each in partitions:
            # One that is there already knows of events in hand, which a commit must not pass.
            self._watermarks.setdefault(each, Watermark())
            self._leaving.discard(each)

    def withdraw(self, partitions: Iterable[Partition]) -> None:
        """Partitions that are about to be released: what is in hand may finish, nothing of theirs is begun."""
        self._leaving.update(partitions)

    def is_ours(self, partition: Partition) -> bool:
        """Whether events of the partition may be begun."""
        return partition in self._watermarks and partition not in self._leaving

    def take_in(self, works: Iterable[Work]) -> list[Work]:
        """Those to be worked on: their partition is still ours, and they aren't in hand from an earlier reading."""
        watermarks = self._watermarks
        return [
            work
            for work in works
            if (watermark := watermarks.get(work.source)) is not None and watermark.add(work.offset)
        ]

    def oldest(self) -> dict[Partition, int | None]:
        """The oldest unsettled offset of each partition."""
        return {partition: watermark.oldest for partition, watermark in self._watermarks.items()}

    def finish(self, work: Work) -> None:
        """The event is settled, and the ledger has said so."""
        watermark = self._watermarks.get(work.source)
        if watermark is not None:
            watermark.finish(work.offset)
            self._moved.add(work.source)

    def publish(self) -> None:
        """Let the poll thread see what may be committed."""
        for partition in self._moved:
            watermark = self._watermarks.get(partition)
            if watermark is not None and watermark.committable is not None:
                self.committable[partition] = watermark.committable
        self._moved.clear()

    def release(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Let go of partitions; what may be committed for them, for the last time."""
        released = {}
        for partition in partitions:
            watermark = self._watermarks.pop(partition, None)
            self.committable.pop(partition, None)
            self._leaving.discard(partition)
            if watermark is not None and watermark.committable is not None:
                released[partition] = watermark.committable
        return released
