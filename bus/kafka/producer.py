"""The Kafka producer of a process: idempotent, with a poll thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from bus import conf
from bus.errors import BrokerUnavailableError, PublishError, PublishRefusedError, PublishUnknownError
from bus.kafka import config

log = logging.getLogger("bus.kafka")

# After these the record hasn't arrived. After all others it may have: what was lost can be the acknowledgement alone.
_REFUSED = {
    KafkaError._PURGE_QUEUE,
    KafkaError._QUEUE_FULL,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._INVALID_ARG,
    KafkaError._FATAL,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
_NO_TOPIC = {KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART}
_FULL_QUEUE_PAUSE = 0.01
# What librdkafka's mock cluster gives as the append time of every record, though it stores the time that was sent.
_MOCK_APPEND_TIME = 1234

#: Called with (outcome) on the poll thread: where the record is, or why not.
OnDelivery = Callable[["Delivered | Exception"], None]
#: Called with (index, error, message): what the client says of a record, unprepared, because that is fast.
OnReport = Callable[[int, Any, Any], None]


class Delivered(NamedTuple):
    """Where an acknowledged record is; `at_ms` is the record's own time."""

    topic: str
    partition: int
    offset: int
    at_ms: int


class Record(Protocol):
    """What is sent to a topic."""

    @property
    def value(self) -> bytes | None: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class RecordProducer:
    """Sends records and reports each one's outcome on the poll thread.

    `after_poll` is called on that thread after every round of callbacks, so that their outcomes can be dealt with
    together.
    """

    def __init__(self, settings: conf.BusSettings | None = None, after_poll: Callable[[], None] | None = None) -> None:
        self.settings = settings or conf.current()
        options = config.producer(self.settings, log)
        if self.settings.compression == "gzip":
            # Half of the client's CPU time at the default level, for records that are some 10% smaller.
            options["compression.level"] = 1
        self._producer = Producer(options)
        self._after_poll = after_poll
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="bus-producer", daemon=True)
        self._thread.start()
        #: The client met an error that it can't recover from: it sends nothing any more.
        self.is_broken = False

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        event_id: str,
        on_delivery: OnDelivery,
        *,
        queue_timeout: float,
    ) -> None:
        """Queue a record.

        Waits up to `queue_timeout` seconds while the queue is full, then raises BrokerUnavailableError: nothing was
        sent. Raises PublishRefusedError for a record that can't be sent at all.
        """

        at_ms = int(time.time() * 1000)

        def delivered(error: Any, message: Any) -> None:
            on_delivery(self.failure(error, event_id) if error else _delivered(message, at_ms))

        produce: Any = self._producer.produce
        deadline: float | None = None
        while True:
            try:
                produce(topic, value, key, headers=headers, on_delivery=delivered, timestamp=at_ms)
                return
            except BufferError:
                now = time.monotonic()
                deadline = now + queue_timeout if deadline is None else deadline
                if now >= deadline:
                    raise BrokerUnavailableError(
                        f"the queue to Kafka at {self.settings.kafka_brokers} is full and doesn't drain; nothing was "
                        "sent, send again later"
                    ) from None
                time.sleep(_FULL_QUEUE_PAUSE)
            except KafkaException as error:
                raise self.failure(error.args[0], event_id) from error

    def send_some(self, topic: str, records: Sequence[Record], first: int, report: OnReport) -> int:
        """Queue the records from index `first` on, until the queue is full; never waits.

        Returns the index of the first record that isn't queued. `report` is called once per queued record, on the poll
        thread, or on this one for a record that the client refuses at once.
        """
        produce: Any = self._producer.produce
        index = first
        try:
            for index in range(first, len(records)):
                record = records[index]
                on_delivery = partial(report, index)
                try:
                    produce(topic, record.value, record.key, headers=record.headers, on_delivery=on_delivery)
                except KafkaException as error:
                    on_delivery(error.args[0], None)
        except BufferError:
            return index
        return len(records)

    def failure(self, error: Any, event_id: str) -> PublishError:
        """What the client's error means for the event."""
        if error.fatal() or error.code() == KafkaError._FATAL:
            self.is_broken = True
        if error.code() not in _REFUSED:
            return PublishUnknownError(
                event_id,
                f"Kafka didn't acknowledge the event ({error.name()}: {error.str()}); whether it was published is "
                "unknown: send it again with this eventId",
            )
        remedy = "; run manage.py create_topics" if error.code() in _NO_TOPIC else ""
        return PublishRefusedError(event_id, f"Kafka refused the event: {error.name()}: {error.str()}{remedy}")

    def outstanding(self) -> int:
        """Records that wait for their outcome."""
        return len(self._producer)

    def close(self, timeout: float) -> int:
        """Wait up to `timeout` seconds for what is queued, and stop. Returns how many outcomes stay unknown."""
        deadline = time.monotonic() + timeout
        while len(self._producer) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._closing.set()
        self._thread.join(timeout=2.0)
        return len(self._producer)

    def _poll(self) -> None:
        while not self._closing.is_set():
            try:
                self._producer.poll(0.05)
                if self._after_poll is not None:
                    self._after_poll()
            except Exception:
                # Without this thread nobody would ever hear of an outcome again.
                log.exception("producer_callback_failed")


def _delivered(message: Any, sent_at_ms: int) -> Delivered:
    at_ms = message.timestamp()[1]
    if at_ms == _MOCK_APPEND_TIME:
        at_ms = sent_at_ms
    return Delivered(message.topic(), message.partition(), message.offset(), at_ms)
