"""Reads records from given places, without a consumer group: for the index, replays and whoever opens a record."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from bus import conf
from bus.errors import BrokerUnavailableError
from bus.kafka import config
from bus.kafka.admin import Admin
from bus.kafka.consumer import Partition, Record

log = logging.getLogger("bus.kafka")

# Named because the library insists; nothing is ever committed under it.
_NO_GROUP = "bus-reader"
# The last one is what asking for nothing but such partitions is answered with.
_NO_SUCH_PARTITION = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._NOENT)
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class RecordReader:
    """Reads partitions from offsets that it is told. Used by one thread.

    Every method raises BrokerUnavailableError when Kafka can't be reached.
    """

    def __init__(self, settings: conf.BusSettings | None = None, name: str = "reader") -> None:
        self.settings = settings or conf.current()
        self._admin: AdminClient | None = None
        self._consumer = Consumer(
            {
                **config.common(self.settings, log),
                "client.id": f"{self.settings.kafka_client_id}-{name}",
                "group.id": _NO_GROUP,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # A place that Kafka has deleted meanwhile: go on with the first record after it.
                "auto.offset.reset": "earliest",
                "fetch.message.max.bytes": self.settings.max_dead_letter_bytes + 64 * 1024,
                "queued.max.messages.kbytes": 32 * 1024,
                "fetch.wait.max.ms": 100,
            }
        )

    def __enter__(self) -> RecordReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()

    def assign(self, places: Mapping[Partition, int]) -> None:
        """Read these partitions from these offsets, and no others."""
        with self._guarded():
            self._consumer.assign([TopicPartition(*partition, offset) for partition, offset in places.items()])

    def read(self, count: int, timeout: float) -> list[Record]:
        """Up to `count` records; as soon as there are any, and none after `timeout` seconds."""
        with self._guarded():
            first = self._consumer.poll(timeout)
            messages = [] if first is None else [first, *self._consumer.consume(count - 1, 0)]
        records: list[Record] = []
        for message in messages:
            error = message.error()
            if error is None:
                records.append(cast(Record, message))
            elif error.code() != KafkaError._PARTITION_EOF:
                raise BrokerUnavailableError(f"{message.topic()} can't be read: {error.name()}: {error.str()}")
        return records

    def offsets(self, partitions: Iterable[Partition], timeout: float = 5.0) -> dict[Partition, tuple[int, int]]:
        """The first and the end offset of each partition; those that don't exist are left out."""
        wanted = [TopicPartition(*each) for each in partitions]
        firsts = self._offsets(wanted, _EARLIEST, timeout)
        ends = self._offsets(wanted, _LATEST, timeout)
        return {partition: (firsts[partition], end) for partition, end in ends.items() if partition in firsts}

    def offsets_at(self, partitions: Iterable[Partition], at_ms: int, timeout: float = 5.0) -> dict[Partition, int]:
        """The first offset of each partition whose record was written at that time (ms since 1970) or later.

        The end offset when there is none. The embedded Kafka doesn't know times, and is searched record by record.
        """
        bounds = self.offsets(partitions, timeout)
        wanted = [TopicPartition(*each) for each in bounds]
        found = self._offsets(wanted, OffsetSpec.for_timestamp(at_ms), timeout)
        unknown = [each for each in bounds if found.get(each, -1) < 0]
        at = {each: bounds[each][1] if each in unknown else found[each] for each in bounds}
        if unknown and Admin(self.settings).ping(timeout).is_embedded:
            deadline = time.monotonic() + timeout
            at |= {each: self._search(each, *bounds[each], at_ms, deadline) for each in unknown}
        return at

    def _search(self, partition: Partition, first: int, end: int, at_ms: int, deadline: float) -> int:
        """Halve the range until it is empty; times grow with offsets, as far as producers' clocks agree."""
        low, high = first, end
        if low < high and self._time_of(partition, high - 1, deadline) < at_ms:
            return end
        while low < high:
            middle = (low + high) // 2
            if self._time_of(partition, middle, deadline) < at_ms:
                low = middle + 1
            else:
                high = middle
        return low

    def _time_of(self, partition: Partition, offset: int, deadline: float) -> int:
        """When the record there, or the next one after it, was written."""
        self.assign({partition: offset})
        try:
            records = self.read(1, max(0.1, deadline - time.monotonic()))
        finally:
            self.assign({})
        if not records:
            raise BrokerUnavailableError(f"{partition[0]}[{partition[1]}]@{offset} wasn't delivered in time")
        return records[0].timestamp()[1]

    def read_at(self, topic: str, partition: int, offset: int, timeout: float = 5.0) -> Record | None:
        """The record at that place; None when there is none any more."""
        first, end = self.offsets([(topic, partition)], timeout).get((topic, partition), (0, 0))
        if not first <= offset < end:
            return None
        self.assign({(topic, partition): offset})
        deadline = time.monotonic() + timeout
        try:
            while (left := deadline - time.monotonic()) > 0:
                for record in self.read(1, left):
                    # Another one: compaction has removed it.
                    return record if record.offset() == offset else None
        finally:
            self.assign({})
        raise BrokerUnavailableError(f"{topic}[{partition}]@{offset} wasn't delivered within {timeout:g} s")

    def _offsets(self, wanted: list[TopicPartition], which: OffsetSpec, timeout: float) -> dict[Partition, int]:
        if not wanted:
            return {}
        if self._admin is None:
            self._admin = AdminClient(config.common(self.settings, log))
        try:
            with self._guarded():
                futures = self._admin.list_offsets(dict.fromkeys(wanted, which), request_timeout=timeout)
            return self._answers(futures)
        except BrokerUnavailableError:
            # After a restart of the broker this client asks with what it knew before, and is refused each time.
            self._admin = None
            raise

    def _answers(self, futures: Mapping[TopicPartition, Any]) -> dict[Partition, int]:
        found: dict[Partition, int] = {}
        for place, future in futures.items():
            try:
                with self._guarded():
                    found[place.topic, place.partition] = future.result().offset
            except _NoSuchPartitionError:
                continue
        return found

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            if error.args[0].code() in _NO_SUCH_PARTITION:
                raise _NoSuchPartitionError(str(error)) from error
            raise BrokerUnavailableError(
                f"Kafka at {self.settings.kafka_brokers} can't be read: {error}; check KAFKA_BROKERS and that it runs"
            ) from error


class _NoSuchPartitionError(BrokerUnavailableError):
    """The topic or partition doesn't exist."""
