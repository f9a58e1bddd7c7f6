"""The Kafka producer of a process: idempotent, one per process id, with a poll thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from bus import conf
from bus.errors import BrokerUnavailableError, PublishRefusedError, PublishUnknownError
from bus.kafka import config

log = logging.getLogger("bus.kafka")

# After these the record may have arrived: the acknowledgement was lost, not necessarily the record.
_UNKNOWN = {KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError._PURGE_INFLIGHT, KafkaError.REQUEST_TIMED_OUT}
_NO_TOPIC = {KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART}

#: Called with (outcome) on the poll thread: where the record is, or why not.
OnDelivery = Callable[["Delivered | Exception"], None]


class Delivered(NamedTuple):
    """Where an acknowledged record is; `at_ms` is the record's own time."""

    topic: str
    partition: int
    offset: int
    at_ms: int


class RecordProducer:
    """Sends records and reports each one's outcome on the poll thread.

    `after_poll` is called on that thread after every round of callbacks, so that their outcomes can be dealt with
    together.
    """

    def __init__(self, settings: conf.BusSettings | None = None, after_poll: Callable[[], None] | None = None) -> None:
        self.settings = settings or conf.current()
        self._producer = Producer(config.producer(self.settings, log))
        self._after_poll = after_poll
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="bus-producer", daemon=True)
        self._thread.start()

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

        def delivered(error: Any, message: Any) -> None:
            on_delivery(_outcome(error, message, event_id))

        deadline: float | None = None
        while True:
            try:
                self._producer.produce(topic, value, key, headers=headers, on_delivery=delivered)
                return
            except BufferError:
                now = time.monotonic()
                deadline = now + queue_timeout if deadline is None else deadline
                if now >= deadline:
                    raise BrokerUnavailableError(
                        f"the queue to Kafka at {self.settings.kafka_brokers} is full and doesn't drain; nothing was "
                        "sent, send again later"
                    ) from None
                time.sleep(0.01)
            except KafkaException as error:
                raise PublishRefusedError(
                    event_id, f"Kafka's client refused the event: {error.args[0].str()}"
                ) from error

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
            self._producer.poll(0.05)
            if self._after_poll is not None:
                self._after_poll()


def _outcome(error: Any, message: Any, event_id: str) -> Delivered | Exception:
    if error is None:
        return Delivered(message.topic(), message.partition(), message.offset(), message.timestamp()[1])
    if error.code() in _UNKNOWN:
        return PublishUnknownError(
            event_id, f"Kafka didn't acknowledge the event in time ({error.str()}); it may have arrived"
        )
    remedy = "; run manage.py create_topics" if error.code() in _NO_TOPIC else ""
    return PublishRefusedError(event_id, f"Kafka refused the event: {error.name()}: {error.str()}{remedy}")
