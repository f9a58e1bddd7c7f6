"""One event on its way through a worker."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from pydantic import ValidationError

from bus import catalog, deadletters
from bus.deadletters import Origin
from bus.envelope import EVENT_ID, Event, Metadata, decode, derived_event_id, timestamp
from bus.errors import EnvelopeError
from bus.handlers import Handler
from bus.kafka.consumer import Record, headers_of
from bus.ledger import Answer, Verdict

NOT_ASKED = Answer(Verdict.BUSY, 0)
_MOST_REPLAYS = 2**31 - 1  # what a database column takes; a header may claim any number
_LATEST_MS = 253_402_300_799_000  # the last second of the year 9999: a record may claim any time


class Work:
    """A record taken in: what it says, who handles it, and what the ledger knows of it.

    `problem` is set when the record can't be read as an event of its topic; `answer` is what the ledger last said.
    `trouble` is why it is run again here: the type of the error, and whether an attempt was counted.
    `was_begun` when it was in this worker's hands before, so that it is no second copy of one that is done.
    """

    __slots__ = (
        "answer",
        "event",
        "event_id",
        "generation",
        "handler",
        "lane",
        "offset",
        "problem",
        "record",
        "size",
        "source",
        "topic",
        "trouble",
        "was_begun",
    )

    def __init__(
        self,
        record: Record,
        source: tuple[str, int],
        offset: int,
        topic: str,
        lane: Hashable | None,
        size: int,
        event_id: str,
        generation: int,
        event: Event | None,
        problem: EnvelopeError | None,
        handler: Handler | None,
    ) -> None:
        self.record = record
        self.source = source
        self.offset = offset
        self.topic = topic
        self.lane = lane
        self.size = size
        self.event_id = event_id
        self.generation = generation
        self.event = event
        self.problem = problem
        self.handler = handler
        self.answer = NOT_ASKED
        self.trouble: tuple[str, bool] | None = None
        self.was_begun = False

    @property
    def attempts(self) -> int:
        """Attempts before this one."""
        return self.answer.attempts

    @property
    def crashes(self) -> int:
        """Workers that died while they ran this event alone."""
        return self.answer.crashes


class Decoder:
    """Turns the records of one group into work."""

    def __init__(self, group: str, handlers: Mapping[str, Handler]) -> None:
        self._replay_topic = catalog.replay_topic(group)
        self._handlers = handlers
        self._models: dict[str, Any] = {
            name: topic.model for name, topic in catalog.topics().items() if topic.model is not None
        }

    def decode(self, record: Record, source: tuple[str, int]) -> Work:
        """Never raises for what a record holds: a record that can't be read is work with a `problem`."""
        key, value, offset = record.key(), record.value(), record.offset()
        size = len(value or b"") + len(key or b"")
        if source[0] == self._replay_topic:
            return self._replayed(record, source, offset, size)
        topic = source[0]
        event, problem = self._read(topic, record, value, source, offset)
        event_id = event.metadata.event_id if event else derived_event_id(*source, offset)
        return Work(record, source, offset, topic, key, size, event_id, 0, event, problem, self._handlers.get(topic))

    def _replayed(self, record: Record, source: tuple[str, int], offset: int, size: int) -> Work:
        headers = headers_of(record)
        origin = deadletters.origin_of(headers) or Origin(*source, offset)
        event, problem = self._read(
            origin.topic, record, record.value(), (origin.topic, origin.partition), origin.offset
        )
        event_id = (
            _text(dict(headers).get(EVENT_ID))
            or (event.metadata.event_id if event else "")
            or derived_event_id(origin.topic, origin.partition, origin.offset)
        )
        topic, generation = origin.topic, min(deadletters.generation_of(headers) or 1, _MOST_REPLAYS)
        # A lane has one handler, so the origin's topic is part of it; without a key it is the event's alone.
        key = record.key()
        lane = (topic, offset if key is None else key)
        return Work(
            record, source, offset, topic, lane, size, event_id, generation, event, problem, self._handlers.get(topic)
        )

    def _read(
        self, topic: str, record: Record, value: bytes | None, origin: tuple[str, int], offset: int
    ) -> tuple[Event | None, EnvelopeError | None]:
        try:
            event = decode(value)
        except EnvelopeError as problem:
            return None, problem
        metadata = event.metadata
        if not (metadata.event_id and metadata.event_type and metadata.timestamp):
            event = Event(_completed(metadata, topic, record, origin, offset), event.data)
        model = self._models.get(topic)
        if model is not None:
            try:
                model.__pydantic_validator__.validate_python(event.data)
            except ValidationError as error:
                return event, EnvelopeError(f"data doesn't fit the schema of {topic}: {_first(error)}")
            except Exception as error:  # a validator of the project's own, at a loss
                return event, EnvelopeError(f"the schema of {topic} can't be applied: {type(error).__name__}: {error}")
        return event, None


def _completed(metadata: Metadata, topic: str, record: Record, origin: tuple[str, int], offset: int) -> Metadata:
    """A foreign producer may leave out what the position in Kafka tells as well."""
    return Metadata(
        metadata.event_id or derived_event_id(*origin, offset),
        metadata.event_type or topic,
        metadata.timestamp or timestamp(min(max(record.timestamp()[1], 0), _LATEST_MS)),
        metadata.version,
        metadata.priority,
        metadata.source,
        metadata.correlation_id,
        metadata.user_id,
    )


def _first(error: ValidationError) -> str:
    detail = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in ('data', *detail['loc']))}: {detail['msg']}"


def _text(header: bytes | None) -> str:
    return header.decode(errors="replace") if header else ""
