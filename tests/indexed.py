"""Dead letters in the index without a Kafka: records that are made up, and indexed as the monitor does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from bus import deadletters
from bus.deadletterindex.entries import Entries
from bus.deadletterindex.rows import entry_of
from bus.deadletters import Failure, Origin, Reason
from bus.envelope import Event, Metadata, encode, headers_of, timestamp
from bus.models import DeadLetter

AT_MS = 1_790_000_000_000
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CLUSTER = "made-up"
FAILURE = Failure(
    group="billing",
    reason=Reason.EXHAUSTED,
    attempts=4,
    error_type="CardRefusedError",
    error_message="card 4711 was refused",
    stack_trace='Traceback:\n  File "/app/shop/handlers/billing.py", line 12, in charge\nCardRefusedError: refused\n',
    first_failed_at_ms=AT_MS,
    last_attempt_at_ms=AT_MS + 35_000,
)


@dataclass(frozen=True, slots=True)
class MadeUpRecord:
    """A record of a `.dlq` topic."""

    its_topic: str
    its_offset: int
    its_value: bytes | None
    its_key: bytes | None
    its_headers: list[tuple[str, bytes | None]]

    def topic(self) -> str:
        return self.its_topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.its_offset

    def key(self) -> bytes | None:
        return self.its_key

    def value(self) -> bytes | None:
        return self.its_value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self.its_headers

    def timestamp(self) -> tuple[int, int]:
        return 1, AT_MS


def record(number: int, topic: str = "order.created", key: str | None = None, **failure: Any) -> MadeUpRecord:
    """The dead letter of event `event-<number>`, last tried `number` milliseconds later than the first."""
    event = Event(
        Metadata(f"event-{number}", topic, timestamp(AT_MS), correlation_id=f"correlation-{number}"), {"n": number}
    )
    at = {"last_attempt_at_ms": AT_MS + number}
    made = deadletters.build(
        encode(event),
        key.encode() if key is not None else None,
        headers_of(event, "tests"),
        Origin(topic, 0, number, AT_MS),
        replace(FAILURE, **{**at, **failure}),
        max_bytes=2_000_000,
        event_id=event.metadata.event_id,
    )
    return MadeUpRecord(made.topic, number, made.value, made.key, list(made.headers))


def index(records: Iterable[MadeUpRecord], now: datetime = NOW) -> None:
    """Index records in one batch."""
    with transaction.atomic():
        Entries([entry_of(each, CLUSTER, now) for each in records], now).save()


def letter(number: int) -> DeadLetter:
    """The newest dead letter of event `event-<number>`."""
    return DeadLetter.objects.filter(event_id=f"event-{number}").latest("generation")
