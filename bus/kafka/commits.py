"""How far consumer groups have committed."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from bus import conf
from bus.errors import BrokerUnavailableError
from bus.kafka import config
from bus.kafka.consumer import Partition

log = logging.getLogger("bus.kafka")


def committed(
    group: str, partitions: Iterable[Partition], settings: conf.BusSettings | None = None, timeout: float = 5.0
) -> dict[Partition, int]:
    """The offset that the group goes on from in each partition; without a commit it is left out.

    Asks without joining the group. Raises BrokerUnavailableError.
    """
    settings = settings or conf.current()
    client = Consumer({**config.common(settings, log), "group.id": group, "enable.auto.commit": False})
    try:
        told = client.committed([TopicPartition(*each) for each in partitions], timeout=timeout)
    except KafkaException as error:
        raise BrokerUnavailableError(f"the commits of {group} can't be read from Kafka: {error}") from error
    finally:
        client.close()
    return {(each.topic, each.partition): each.offset for each in told if each.error is None and each.offset >= 0}
