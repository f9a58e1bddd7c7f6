"""When records were written that a consumer group has yet to read: its lag as a time.

A record stays what it is, so what was asked once is remembered: nothing is read again until a commit moves.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from bus import conf
from bus.errors import BrokerUnavailableError
from bus.kafka import config
from bus.kafka.consumer import Partition

log = logging.getLogger("bus.kafka")

Place = tuple[str, int, int]
"""Topic, partition and offset."""
MOST_AT_ONCE: Final = 200
"""Records that are read in one go at most."""
_MOST_REMEMBERED: Final = 100_000
# Named because the library insists; nothing is ever committed under it.
_NO_GROUP = "bus-timestamps"


class Timestamps:
    """Reads the time of records, one per partition and round. Used by one thread."""

    def __init__(
        self, settings: conf.BusSettings | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings or conf.current()
        self._clock = clock
        self._consumer: Consumer | None = None
        self._known: dict[Place, int | None] = {}

    def close(self) -> None:
        """Let go of the connections."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def of(self, places: Iterable[Place], timeout: float = 1.0) -> dict[Place, int | None]:
        """When the first record at or after each place was written, in ms since 1970; None for one without a time.

        What isn't known yet is read: up to `MOST_AT_ONCE` records, each of another partition, as far as they come
        within `timeout` seconds. The others are left out; ask again in the next round. Raises BrokerUnavailableError.
        """
        wanted = list(places)
        missing: dict[Partition, int] = {}
        for topic, partition, offset in wanted:
            if (topic, partition, offset) not in self._known and len(missing) < MOST_AT_ONCE:
                missing.setdefault((topic, partition), offset)
        if missing:
            self._read(missing, timeout)
        found = {each: self._known[each] for each in wanted if each in self._known}
        while len(self._known) > _MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        return found

    def forget(self, partition: Partition) -> None:
        """The partition was made anew: its offsets stand for other records."""
        self._known = {place: at for place, at in self._known.items() if place[:2] != partition}

    def _read(self, places: dict[Partition, int], timeout: float) -> None:
        consumer, deadline, left = self._open(), self._clock() + timeout, dict(places)
        try:
            consumer.assign([TopicPartition(*each, offset) for each, offset in places.items()])
            while left and (rest := deadline - self._clock()) > 0:
                message = consumer.poll(rest)
                if message is None or message.error() is not None:
                    continue
                topic, partition = message.topic() or "", message.partition()
                offset = left.pop((topic, -1 if partition is None else partition), None)
                if offset is not None:
                    kind, at = message.timestamp()
                    self._known[topic, partition or 0, offset] = at if kind and at >= 0 else None
                    # Its next records would only keep those of other partitions waiting.
                    consumer.incremental_unassign([TopicPartition(topic, partition or 0)])
            consumer.unassign()
        except KafkaException as error:
            self.close()
            raise BrokerUnavailableError(
                f"Kafka at {self.settings.kafka_brokers} can't be read: {error}; check KAFKA_BROKERS and that it runs"
            ) from error

    def _open(self) -> Consumer:
        if self._consumer is None:
            self._consumer = Consumer(
                {
                    **config.common(self.settings, log),
                    "client.id": f"{self.settings.kafka_client_id}-timestamps",
                    "group.id": _NO_GROUP,
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    # A place that Kafka has deleted meanwhile: the first record after it is what the group reads next.
                    "auto.offset.reset": "earliest",
                    # One record of each partition is enough; a broker sends at least one, however large.
                    "fetch.message.max.bytes": 64 * 1024,
                    "queued.min.messages": 1,
                    "queued.max.messages.kbytes": 16 * 1024,
                    "fetch.queue.backoff.ms": 10,
                    "fetch.wait.max.ms": 50,
                }
            )
        return self._consumer
