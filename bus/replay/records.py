"""From the items of a replay to the records that are sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from bus import deadletters
from bus.deadletterindex.rows import unpack_headers
from bus.deadletters import HeaderSequence, OutgoingRecord
from bus.envelope import EVENT_ID, Headers
from bus.kafka.consumer import Record, headers_of
from bus.models import DeadLetter, DeadLetterPayload, Replay, ReplayEdit

REPLAY_OF: Final = "replay-of"
"""The event that an edited copy was made from; of a dead letter without a group, where it is in Kafka."""


class Places(Protocol):
    """Reads single records: `bus.kafka.reader.RecordReader`."""

    def read_at(self, topic: str, partition: int, offset: int, timeout: float = 5.0) -> Record | None: ...


class Letter(NamedTuple):
    """What is needed of `bus.models.DeadLetter`; whole rows would take a third of the time."""

    event_id: str
    topic: str
    group: str
    size: int
    dlq_topic: str
    dlq_partition: int
    dlq_offset: int


class Item(NamedTuple):
    """What is needed of `bus.models.ReplayItem`, with its dead letter, None when that has left the index."""

    pk: int
    sequence: int
    letter_id: int
    letter: Letter | None


def with_letters(items: Iterable[tuple[int, int, int]]) -> list[Item]:
    """Items, given by their ids, sequences and the ids of their dead letters, in their order."""
    wanted = list(items)
    columns = DeadLetter.objects.filter(pk__any_of=[letter_id for _, _, letter_id in wanted])
    letters = {pk: Letter(*rest) for pk, *rest in columns.values_list("pk", *Letter._fields)}
    return [Item(*each, letters.get(each[2])) for each in wanted]


class Payload(NamedTuple):
    """What `bus.models.DeadLetterPayload` has; drivers give bytes or a memoryview."""

    value: bytes | memoryview | None
    key: bytes | memoryview | None
    headers: bytes | memoryview


class Mark(NamedTuple):
    """What a record that arrived is recognised by."""

    topic: str
    event_id: bytes | None
    generation: bytes | None
    replay_of: bytes | None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An item and its record; or why it can't be sent."""

    item_id: int
    letter_id: int
    record: OutgoingRecord | None
    problem: str = ""

    @property
    def mark(self) -> Mark | None:
        """What its record is recognised by when it is read back."""
        return mark_of(self.record.topic, self.record.headers) if self.record else None


def mark_of(topic: str, headers: HeaderSequence | None) -> Mark:
    """What a record with these headers is recognised by."""
    found = dict(headers or ())
    return Mark(topic, found.get(EVENT_ID), found.get(deadletters.GENERATION), found.get(REPLAY_OF))


@dataclass(frozen=True, slots=True)
class Materials:
    """What the database has of the items of a replay: what their records are made of."""

    replay: Replay
    payloads: Mapping[int, Payload]
    """By the ids of dead letters."""
    edits: Mapping[int, ReplayEdit]
    """By the ids of items."""

    @staticmethod
    def of(replay: Replay, items: Sequence[Item]) -> Materials:
        """Those of these items."""
        ids = [item.letter_id for item in items]
        rows = DeadLetterPayload.objects.filter(pk__any_of=ids).values_list("pk", "value", "key", "headers")
        payloads = {pk: Payload(value, key, headers) for pk, value, key, headers in rows}
        is_edit = replay.kind == Replay.Kind.EDIT
        return Materials(replay, payloads, ReplayEdit.objects.in_bulk([item.pk for item in items]) if is_edit else {})

    def outgoing(self, item: Item, places: Places) -> Outgoing:
        """The record of an item. Raises BrokerUnavailableError when a part has to be read from Kafka."""
        pk, _, letter_id, letter = item
        if letter is None:
            return Outgoing(pk, letter_id, None, "the dead letter is gone")
        try:
            read = opened(letter, self.payloads.get(letter_id), places)
            record = _record(letter, read, self.edits.get(pk), self.replay.all_groups)
        except ValueError as error:
            return Outgoing(pk, letter_id, None, str(error))
        return Outgoing(pk, letter_id, record)


def opened(letter: Letter, payload: Payload | None, places: Places) -> deadletters.DeadLetter:
    """The dead letter, whole: from the index, else from its place in Kafka; what was too large comes from the origin.

    Raises ValueError when some of it is nowhere any more, and BrokerUnavailableError.
    """
    if payload is not None:
        value, key = _bytes(payload.value), _bytes(payload.key)
        headers: HeaderSequence = unpack_headers(bytes(payload.headers))
    else:
        record = places.read_at(letter.dlq_topic, letter.dlq_partition, letter.dlq_offset)
        if record is None:
            raise ValueError("its record has left Kafka, and the index has no copy of it")
        value, key, headers = record.value(), record.key(), headers_of(record)
    read = deadletters.read(value, key, headers, letter.dlq_topic)
    if not read.at_origin:
        return read
    if read.origin is None:
        raise ValueError("it was too large to be kept whole, and doesn't name its origin")
    original = places.read_at(read.origin.topic, read.origin.partition, read.origin.offset)
    if original is None:
        raise ValueError(f"it was too large to be kept whole, and its origin {_place(read.origin)} has left Kafka")
    return read.completed(original.value(), original.key(), headers_of(original))


def _record(letter: Letter, read: deadletters.DeadLetter, edit: ReplayEdit | None, all_groups: bool) -> OutgoingRecord:
    goes_to_topic = read.group is None or read.origin is None
    if goes_to_topic and not all_groups:
        raise ValueError(
            "it names no group and origin: all groups of its topic would see it, and nobody confirmed that"
        )
    extra: Headers = []
    if edit is not None:
        extra.append((REPLAY_OF, letter.event_id.encode()))
        free = [*unpack_headers(bytes(edit.headers)), (EVENT_ID, edit.event_id.encode())]
        read = replace(read, value=bytes(edit.value), key=_bytes(edit.key), headers=free, event_id=edit.event_id)
    if not goes_to_topic:
        record = deadletters.replay_record(read)
        return replace(record, headers=[*record.headers, *extra]) if extra else record
    place = f"{letter.dlq_topic}/{letter.dlq_partition}/{letter.dlq_offset}"
    record = deadletters.original_record(read, letter.topic)
    return replace(record, headers=[*record.headers, *(extra or [(REPLAY_OF, place.encode())])])


def _bytes(stored: bytes | memoryview | None) -> bytes | None:
    return None if stored is None else bytes(stored)


def _place(origin: deadletters.Origin) -> str:
    return f"{origin.topic}[{origin.partition}]@{origin.offset}"
