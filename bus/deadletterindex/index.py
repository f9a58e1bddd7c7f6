"""Reads the `.dlq` topics into the database.

A batch is one transaction: its rows, and how far each partition is read. A record that was seen before changes nothing,
so it does no harm to read from the beginning. Positions belong to a cluster: on another one, or where a partition ends
before the position (it was made anew), reading starts again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from django.db import connection, transaction

from bus import catalog
from bus.deadletterindex import retention, statistics
from bus.deadletterindex.bulk import advance_rows
from bus.deadletterindex.entries import Entries
from bus.deadletterindex.rows import Entry, entry_of
from bus.errors import BusError
from bus.kafka.admin import ClusterInfo
from bus.kafka.consumer import Partition, Record
from bus.models import DeadLetter, DeadLetterPosition, IndexPosition

log = logging.getLogger("bus.deadletterindex")

BATCH: Final = 5000
"""Records of one transaction at most: the more, the fewer changes of the counts of their groups."""
_UNNAMED: Final = "unnamed"  # a cluster that says no id; empty means "not found again yet"
LOOK_SECONDS: Final = 5.0
"""How often the index looks for new topics, and how far behind it is."""
GONE_SECONDS: Final = 60.0
"""A topic that wasn't seen for so long was deleted."""
_STATISTICS_EVERY: Final = 10_000


class Source(Protocol):
    """Where records come from: `bus.kafka.reader.RecordReader`."""

    def assign(self, places: Mapping[Partition, int]) -> None: ...
    def read(self, count: int, timeout: float) -> list[Record]: ...
    def offsets(self, partitions: list[Partition]) -> dict[Partition, tuple[int, int]]: ...


class Cluster(Protocol):
    """What is asked about the cluster: `bus.kafka.admin.Admin`."""

    def ping(self) -> ClusterInfo: ...
    def topics(self) -> dict[str, int]: ...


class PositionTakenError(BusError):
    """Another process has read on from the same place; what this one read is dropped."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the index is: records that aren't read yet, and when that was known; None before it looked."""

    behind: int
    seen_at: datetime | None

    @property
    def is_complete(self) -> bool:
        """Whether everything was read as of `seen_at`."""
        return self.behind == 0 and self.seen_at is not None


@dataclass(frozen=True, slots=True)
class _Batch:
    """What was read and is to be saved; `after` is where each partition goes on behind it."""

    entries: Sequence[Entry]
    after: Mapping[Partition, int]
    read_at: datetime


class Index:
    """Reads on with every `step`. Used by one thread; several processes do each other no harm."""

    def __init__(
        self,
        source: Source,
        cluster: Cluster,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        reads_ahead: bool | None = None,
    ) -> None:
        """`reads_ahead`: the next batch is read while one is saved; None: unless the database is SQLite, which works in
        this process and would only wait for the other thread.
        """
        self._reads_ahead = connection.vendor != "sqlite" if reads_ahead is None else reads_ahead
        self._source = source
        self._cluster = cluster
        self._now = now
        self._clock = clock
        self._cluster_id = ""
        self._places: dict[Partition, int] = {}
        self._ahead: _Batch | None = None
        self._ends: dict[Partition, int] = {}
        self._firsts: dict[Partition, int] = {}
        self._looked_at: float | None = None
        self._saved = 0  # since statistics were gathered
        # Rows of another cluster, or from before everything is read anew, may be there.
        self._has_strays = True
        self._gone_since: dict[Partition, float] = {}

    def step(self, timeout: float = 0.5) -> int:
        """Read a batch and save it; returns how many records it had, 0 when there was nothing within `timeout`.

        Raises BrokerUnavailableError and Django's DatabaseError; nothing is lost then, call it again. Raises
        PositionTakenError when another process reads, too; the next call goes on from where that one is.
        """
        if self._looked_at is None or self._clock() - self._looked_at >= LOOK_SECONDS:
            self.look()
        if not self._places:
            return 0
        try:
            batch = self._ahead or self._read(timeout)
            self._ahead = None
            if batch.entries:
                self._save_and_read_on(batch)
        except BaseException:
            # What was read and not saved must be read again.
            self._looked_at = None
            self._places, self._ahead = {}, None
            raise
        return len(batch.entries)

    def catch_up(self, progress: Callable[[Progress], None] | None = None) -> None:
        """Step until everything is read that there is at the beginning or when it looks again."""
        self.look()
        while self._behind:
            if self.step() == 0:
                self.look()
            if progress is not None:
                progress(progress_of(self._cluster_id))
        self._tidy()

    def look(self) -> None:
        """Find topics that are new, note where each partition begins and ends, drop what has left Kafka."""
        cluster_id = self._cluster.ping().cluster_id[:64] or _UNNAMED
        partitions = [
            (topic, number)
            for topic, count in sorted(self._cluster.topics().items())
            if topic.endswith(catalog.DEAD_LETTER_SUFFIX)
            for number in range(count)
        ]
        offsets = self._source.offsets(partitions)
        places = self._reconcile(cluster_id, offsets)
        if cluster_id != self._cluster_id or places.keys() != self._places.keys() or self._moved(places):
            self._source.assign(places)
            self._ahead = None
        self._cluster_id, self._places = cluster_id, places
        self._ends = {partition: end for partition, (_, end) in offsets.items()}
        self._looked_at = self._clock()
        if self._firsts != (firsts := {partition: first for partition, (first, _) in offsets.items()}):
            retention.prune(cluster_id, firsts)
            self._firsts = firsts
        self._tidy()

    def _tidy(self) -> None:
        """Once all is read: drop what wasn't found again, and let the planner know what came."""
        if self._behind:
            return
        if self._has_strays:
            retention.drop_strays(self._cluster_id)
            # Those that are being replayed stay until their outcome is known.
            self._has_strays = retention.has_strays(self._cluster_id)
        if self._saved >= _STATISTICS_EVERY:
            statistics.gather()
            self._saved = 0

    @property
    def _behind(self) -> bool:
        return any(end > self._places.get(partition, 0) for partition, end in self._ends.items())

    def _moved(self, places: Mapping[Partition, int]) -> bool:
        return any(offset != self._places[partition] for partition, offset in places.items())

    def _reconcile(self, cluster_id: str, offsets: Mapping[Partition, tuple[int, int]]) -> dict[Partition, int]:
        """Where to read on, after noting in the database what Kafka said."""
        now, places = self._now(), dict[Partition, int]()
        with transaction.atomic():
            known = {
                (each.topic, each.partition): each
                for each in IndexPosition.objects.select_for_update().filter(cluster=cluster_id)
            }
            new: list[IndexPosition] = []
            changed: list[IndexPosition] = []
            for (topic, partition), (first, end) in offsets.items():
                position = known.get((topic, partition))
                if position is None:
                    position = IndexPosition(cluster=cluster_id, topic=topic, partition=partition, seen_at=now)
                    new.append(position)
                elif (position.first_offset, position.end_offset) != (first, end):
                    changed.append(position)
                if position.next_offset > end:
                    log.warning("partition_made_anew %s[%s] is read from its beginning", topic, partition)
                    retention.forget_partition(cluster_id, topic, partition)
                    position.next_offset = 0
                    self._has_strays = True
                position.first_offset, position.end_offset = first, end
                position.next_offset = places[topic, partition] = max(position.next_offset, first)
            IndexPosition.objects.bulk_create(new)
            IndexPosition.objects.bulk_update(changed, ["next_offset", "first_offset", "end_offset"], batch_size=200)
            IndexPosition.objects.filter(cluster=cluster_id).update(seen_at=now)
            self._has_strays |= bool(new)
            self._forget_gone(
                cluster_id, {partition: each.pk for partition, each in known.items() if partition not in offsets}
            )
            IndexPosition.objects.exclude(cluster=cluster_id).delete()
        return places

    def _forget_gone(self, cluster_id: str, gone: Mapping[Partition, int]) -> None:
        """Let go of partitions whose topic was deleted, and with it their records.

        Not at once: a cluster that starts doesn't know all of its topics yet, and what people did is in those rows.
        """
        now = self._clock()
        self._gone_since = {partition: self._gone_since.get(partition, now) for partition in gone}
        for partition, pk in gone.items():
            if now - self._gone_since[partition] >= GONE_SECONDS:
                log.warning("partition_gone %s[%s]: its dead letters leave the index", *partition)
                retention.forget_partition(cluster_id, *partition)
                IndexPosition.objects.filter(pk=pk).delete()
                self._has_strays = True

    def _read(self, timeout: float) -> _Batch:
        records, now = self._source.read(BATCH, timeout), self._now()
        after: dict[Partition, int] = {}
        for record in records:
            partition = (record.topic(), record.partition())
            after[partition] = max(record.offset() + 1, after.get(partition, 0))
        return _Batch([entry_of(record, self._cluster_id, now) for record in records], after, now)

    def _save_and_read_on(self, batch: _Batch) -> None:
        """Save a batch; when there is more, the next one is read and taken apart while the database is at work."""
        places = {**self._places, **batch.after}
        has_more = any(end > places.get(partition, 0) for partition, end in self._ends.items())
        if not has_more or not self._reads_ahead:
            self._save(batch)
            return
        with ThreadPoolExecutor(1) as reading:
            ahead = reading.submit(self._read, 0.0)
            self._save(batch)
        self._ahead = ahead.result()

    def _save(self, batch: _Batch) -> None:
        moves = [(self._cluster_id, *each, self._places[each], offset) for each, offset in sorted(batch.after.items())]
        with transaction.atomic():
            if advance_rows(IndexPosition, ["cluster", "topic", "partition"], "next_offset", moves) < len(moves):
                raise PositionTakenError("a .dlq partition was read on by another process")
            Entries(batch.entries, batch.read_at).save()
        self._places.update(batch.after)
        self._saved += len(batch.entries)


def begin_anew() -> None:
    """Have everything read again from Kafka. Rows stay until all is read, and what people did to them stays."""
    with transaction.atomic():
        IndexPosition.objects.all().delete()
        DeadLetterPosition.objects.all().delete()
        DeadLetter.objects.update(cluster=retention.NOWHERE)


def progress_of(cluster_id: str | None = None) -> Progress:
    """How far behind the index is, as of its last look at Kafka."""
    positions = IndexPosition.objects.all() if cluster_id is None else IndexPosition.objects.filter(cluster=cluster_id)
    rows = list(positions.values_list("next_offset", "end_offset", "seen_at"))
    if not rows:
        return Progress(0, None)
    return Progress(sum(max(0, end - next_) for next_, end, _ in rows), min(seen_at for _, _, seen_at in rows))
