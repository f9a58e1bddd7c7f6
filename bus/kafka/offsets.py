"""Setting a consumer group's offsets, in the group's name.

The broker itself refuses a commit from outside as long as the group has members, so two can't be at it at once. The
embedded one refuses it for ever once the group had any, and is joined for a moment instead.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from bus import conf
from bus.errors import BrokerUnavailableError, BusError
from bus.kafka import config
from bus.kafka.admin import Admin
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
_MEMBERS: Final = (
    "Kafka says that {} has members: stop them first, or wait for the session time-out if it hasn't noticed yet "
    "that they are gone"
)


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
    try:
        _in_time(group, lambda: _commit_from_outside(group, offsets, settings), timeout)
    except GroupHasMembersError:
        if not Admin(settings).ping(timeout).is_embedded:
            raise
        _in_time(group, lambda: _commit_as_only_member(group, offsets, settings, timeout), timeout * 2)


def _commit_from_outside(group: str, offsets: Mapping[Partition, int], settings: conf.BusSettings) -> None:
    client = Consumer({**config.common(settings, log), "group.id": group, "enable.auto.commit": False})
    try:
        _commit(client, group, offsets)
    finally:
        client.close()


def _commit_as_only_member(
    group: str, offsets: Mapping[Partition, int], settings: conf.BusSettings, seconds: float
) -> None:
    """The embedded Kafka refuses commits from outside to any group that ever had members: join it for a moment.

    Whoever gets every partition is its only member. Raises GroupHasMembersError for who doesn't.
    """
    client = Consumer(config.consumer(settings, group, f"{settings.kafka_client_id}-reset", log))
    try:
        client.subscribe(sorted({topic for topic, _ in offsets}))
        deadline = time.monotonic() + seconds
        while not set(offsets) <= {(each.topic, each.partition) for each in client.assignment()}:
            if time.monotonic() > deadline:
                raise GroupHasMembersError(_MEMBERS.format(group))
            client.poll(0.05)
        _commit(client, group, offsets)
    finally:
        client.close()


def _commit(client: Consumer, group: str, offsets: Mapping[Partition, int]) -> None:
    try:
        wanted = [TopicPartition(*each, offset) for each, offset in offsets.items()]
        answer = client.commit(offsets=wanted, asynchronous=False) or []
    except KafkaException as error:
        raise _refusal(group, error.args[0]) from error
    for place in answer:
        if place.error is not None:
            raise _refusal(group, place.error)


def _in_time(group: str, action: Callable[[], None], seconds: float) -> None:
    """Do what waits for a broker as long as there is none, and give it up after a while; raises what it raises."""
    raised: list[BaseException] = []

    def act() -> None:
        try:
            action()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=act, name="bus-set-offsets", daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if thread.is_alive():
        raise CommitUnknownError(f"Kafka gave no answer within {seconds:g} s to the commit for {group}")


def _refusal(group: str, error: KafkaError) -> BusError:
    if error.code() in _HAS_MEMBERS:
        return GroupHasMembersError(_MEMBERS.format(group))
    if error.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT):
        return CommitUnknownError(f"Kafka gave no answer to the commit for {group}: {error.str()}")
    return BrokerUnavailableError(f"Kafka refused to set offsets of {group}: {error.name()}: {error.str()}")
