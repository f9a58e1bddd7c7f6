"""The record of a dead letter, taken apart when somebody opens it or sends it again."""

from __future__ import annotations

from collections.abc import Callable

from bus import deadletters
from bus.deadletterindex.rows import Place, unpack_headers
from bus.errors import BusError
from bus.kafka.consumer import headers_of
from bus.kafka.reader import RecordReader
from bus.models import DeadLetter, DeadLetterPayload


class PayloadGoneError(BusError):
    """The payload isn't in the index any more: the dead letter was discarded and purged."""


class OriginGoneError(BusError):
    """The dead letter was too large to be written whole, and Kafka has deleted its original."""


def positions_of(letter: DeadLetter, most: int | None = None) -> list[Place]:
    """Where its record is in Kafka, in order; more than once when a worker died while writing it, or nowhere any more.

    The first `most` of them.
    """
    names = ("topic", "partition", "offset")
    further = letter.positions.order_by(*names).values_list(*names)[:most]
    found = {Place(*each) for each in further}
    if not letter.has_left_kafka:
        found.add(Place(letter.dlq_topic, letter.dlq_partition, letter.dlq_offset))
    return sorted(found)[:most]


def record_of(letter_id: int) -> deadletters.DeadLetter:
    """What the record says: the original value, key and headers byte for byte, and the failure with its stack trace.

    Raises PayloadGoneError.
    """
    payload = DeadLetterPayload.objects.select_related("dead_letter").filter(pk=letter_id).first()
    if payload is None:
        raise PayloadGoneError(f"the payload of dead letter {letter_id} is gone: it was discarded and purged")
    # psycopg gives bytes, other drivers a memoryview.
    value, key = (None if each is None else bytes(each) for each in (payload.value, payload.key))
    headers = unpack_headers(bytes(payload.headers))
    return deadletters.read(value, key, headers, payload.dead_letter.dlq_topic)


def whole_record_of(
    letter_id: int, open_reader: Callable[[], RecordReader] = RecordReader, timeout: float = 5.0
) -> deadletters.DeadLetter:
    """The same; what was too large for the dead letter is read from its origin in Kafka.

    Raises PayloadGoneError, OriginGoneError and BrokerUnavailableError.
    """
    letter = record_of(letter_id)
    if not letter.at_origin:
        return letter
    missing = ", ".join(sorted(letter.at_origin))
    if letter.origin is None:
        raise OriginGoneError(f"the {missing} of dead letter {letter_id} is at its origin, which it doesn't name")
    topic, partition, offset = letter.origin.topic, letter.origin.partition, letter.origin.offset
    with open_reader() as reader:
        record = reader.read_at(topic, partition, offset, timeout)
    if record is None:
        raise OriginGoneError(
            f"the {missing} of dead letter {letter_id} was too large and is only at {topic}[{partition}]@{offset}, "
            "where Kafka has deleted it"
        )
    return letter.completed(record.value(), record.key(), headers_of(record))
