"""Setting a consumer group's offsets, in the group's name and without joining it.

The broker itself refuses a commit from outside as long as the group has members, so that two can't be at it at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from bus import conf
from bus.errors import BrokerUnavailableError, BusError
from bus.kafka import config
from bus.kafka.consumer import Partition

log = logging.getLogger("bus.kafka")

_HAS_MEMBERS: Final = {
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError.NON_EMPTY_GROUP,
}
_AT_END: Final = -1  # what Kafka says of a time behind the last record


class GroupHasMembersError(BusError):
    """The broker refused the commit: the group has members, and only they commit."""


class CommitUnknownError(BusError):
    """The broker gave no answer: the offsets may have been set or not."""


def set_offsets(
    group: str, offsets: Mapping[Partition, int], settings: conf.BusSettings | None = None, timeout: float = 5.0
) -> None:
    """Commit these offsets in the group's name; it goes on from there.

    Raises GroupHasMembersError, CommitUnknownError, and BrokerUnavailableError when a partition was refused.
    """
    settings = settings or conf.current()
    client = Consumer({**config.common(settings, log), "group.id": group, "enable.auto.commit": False})
    answers: list[list[TopicPartition] | KafkaException] = []

    def commit() -> None:
        try:
            wanted = [TopicPartition(*each, offset) for each, offset in offsets.items()]
            answers.append(client.commit(offsets=wanted, asynchronous=False) or [])
        except KafkaException as error:
            answers.append(error)
        finally:
            client.close()

    # The library waits for a broker as long as there is none.
    thread = threading.Thread(target=commit, name="bus-set-offsets", daemon=True)
    thread.start()
    thread.join(timeout)
    if not answers:
        raise CommitUnknownError(f"Kafka gave no answer within {timeout:g} s to the commit for {group}")
    answer = answers[0]
    if isinstance(answer, KafkaException):
        raise _refusal(group, answer.args[0])
    for place in answer:
        if place.error is not None:
            raise _refusal(group, place.error)


def offsets_at(
    partitions: Iterable[Partition], at_ms: int, settings: conf.BusSettings | None = None, timeout: float = 5.0
) -> dict[Partition, int | None]:
    """The first offset of each partition written at or after a time (ms since 1970), None when there is none.

    Raises BrokerUnavailableError. The embedded Kafka can't tell: ask it for something else.
    """
    settings = settings or conf.current()
    spec = OffsetSpec.for_timestamp(at_ms)
    client = AdminClient(config.common(settings, log))
    found: dict[Partition, int | None] = {}
    try:
        futures = client.list_offsets({TopicPartition(*each): spec for each in partitions}, request_timeout=timeout)
        for place, future in futures.items():
            offset = future.result().offset
            found[place.topic, place.partition] = None if offset == _AT_END else offset
    except KafkaException as error:
        raise BrokerUnavailableError(
            f"Kafka at {settings.kafka_brokers} can't tell offsets by time: {error}"
        ) from error
    return found


def _refusal(group: str, error: KafkaError) -> BusError:
    if error.code() in _HAS_MEMBERS:
        return GroupHasMembersError(
            f"Kafka says that {group} has members ({error.name()}): stop them first, or wait for the session time-out "
            "if it hasn't noticed yet that they are gone"
        )
    if error.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT):
        return CommitUnknownError(f"Kafka gave no answer to the commit for {group}: {error.str()}")
    return BrokerUnavailableError(f"Kafka refused to set offsets of {group}: {error.name()}: {error.str()}")
