"""Writes dead letters as workers do, and as foreign producers might."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from confluent_kafka import Producer

from bus import deadletters
from bus.deadletters import Failure, Origin, Reason
from bus.envelope import Event, Metadata, encode, headers_of, timestamp

AT_MS = 1_790_000_000_000
STACK = """Traceback (most recent call last):
  File "/app/.venv/lib/python3.12/site-packages/thing.py", line 3, in call
    return work()
  File "/app/shop/handlers/billing.py", line 12, in charge
    raise CardRefusedError(number)
shop.CardRefusedError: card 4711 was refused
"""

FAILURE = Failure(
    group="billing",
    reason=Reason.EXHAUSTED,
    attempts=4,
    error_type="CardRefusedError",
    error_message="card 4711 was refused",
    stack_trace=STACK,
    first_failed_at_ms=AT_MS,
    last_attempt_at_ms=AT_MS + 35_000,
)


class DeadLetterWriter:
    """Writes to `.dlq` topics; `flush` waits until all is stored."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, "message.max.bytes": 3_000_000})

    def write(
        self,
        topic: str,
        number: int,
        *,
        key: str | None = None,
        partition: int = 0,
        data: Any = None,
        **failure: Any,
    ) -> str:
        """Write the dead letter of event `<topic>-<number>`; returns its eventId. `failure` changes parts of it."""
        event_id = f"{topic}-{number}"
        metadata = Metadata(event_id, topic, timestamp(AT_MS), correlation_id=f"correlation-{number}")
        event = Event(metadata, {"n": number} if data is None else data)
        at = {"last_attempt_at_ms": AT_MS + 35_000 + number}
        record = deadletters.build(
            encode(event),
            key.encode() if key else None,
            headers_of(event, "tests"),
            Origin(topic, partition, number, AT_MS),
            replace(FAILURE, **{**at, **failure}),
            max_bytes=2_000_000,
            event_id=event_id,
        )
        self.write_raw(record.topic, record.value, record.key, record.headers, partition)
        return event_id

    def write_raw(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Any = (),
        partition: int = 0,
    ) -> None:
        """Write any record."""
        while True:
            try:
                self._producer.produce(topic, value, key, partition, headers=list(headers))
                return
            except BufferError:
                self._producer.poll(0.1)

    def flush(self) -> None:
        """Wait until all is stored."""
        assert self._producer.flush(20) == 0
