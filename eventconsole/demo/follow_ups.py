"""Events that a service of the shop publishes because of another one.

They carry the correlation id of what caused them, and an id derived from it, so that a handler that runs twice
publishes once.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import bus
from bus.catalog import TOPICS, Priority
from bus.envelope import MAX_LABEL, Metadata
from bus.errors import (
    BrokerUnavailableError,
    InvalidEventError,
    PermanentError,
    PublishInFlightError,
    PublishUnknownError,
)

_NAMESPACE = uuid.UUID("6f0b1f0e-7d0c-5a4e-9c55-5f2c7f6f4a01")

_PRIORITIES = {
    TOPICS.PAYMENT_FAILED: Priority.CRITICAL,
    TOPICS.PAYMENT_REFUND_FAILED: Priority.CRITICAL,
    TOPICS.ORDER_CREATED: Priority.HIGH,
    TOPICS.ORDER_CONFIRMED: Priority.HIGH,
    TOPICS.ORDER_CANCELLED: Priority.HIGH,
    TOPICS.PAYMENT_INITIATED: Priority.HIGH,
    TOPICS.PAYMENT_SUCCEEDED: Priority.HIGH,
    TOPICS.PAYMENT_REFUNDED: Priority.HIGH,
    TOPICS.INVENTORY_STOCK_LOW: Priority.HIGH,
    TOPICS.ORDER_STATUS_CHANGED: Priority.LOW,
    TOPICS.PRODUCT_UPDATED: Priority.LOW,
    TOPICS.USER_WISHLIST_UPDATED: Priority.LOW,
}


def priority_of(topic: str) -> Priority:
    """How urgent the shop's events of this topic are."""
    return _PRIORITIES.get(topic, Priority.NORMAL)


def follow_up_id(cause: Metadata, topic: str, step: str = "") -> str:
    """The id of the event on `topic` that `cause` leads to; `step` tells several on one topic apart."""
    return str(uuid.uuid5(_NAMESPACE, f"{cause.event_id}/{topic}/{step}"))


def label(value: object, otherwise: str) -> str:
    """A value of an event's data as a key or an id: text, short enough for what Kafka and the envelope take."""
    return str(value)[:MAX_LABEL] if value not in (None, "") else otherwise[:MAX_LABEL]


def part_of_order(kind: str, order_id: str) -> str:
    """The id of an order's payment, reservation, … : `payment-17` for `order-17`."""
    return f"{kind}-{order_id.removeprefix('order-')}"


def follow_up(cause: Metadata, topic: str, data: dict[str, Any], *, key: str, source: str, step: str = "") -> None:
    """Publish what `cause` leads to.

    Raises BrokerUnavailableError while it isn't known to be published, which costs the handler no attempt, and
    PermanentError when it can't ever be.
    """
    try:
        bus.publish(
            topic,
            data,
            key=key,
            source=source,
            priority=priority_of(topic),
            correlation_id=label(cause.correlation_id, cause.event_id),
            user_id=label(cause.user_id, "") or None,
            event_id=follow_up_id(cause, topic, step),
            published_by=source,
        )
    except (PublishUnknownError, PublishInFlightError) as error:
        raise BrokerUnavailableError(f"{topic} isn't known to be published: {error}") from error
    except InvalidEventError as error:
        raise PermanentError(f"{topic} can't be published: {error}") from error


async def afollow_up(
    cause: Metadata, topic: str, data: dict[str, Any], *, key: str, source: str, step: str = ""
) -> None:
    """`follow_up` for async handlers."""
    await asyncio.to_thread(follow_up, cause, topic, data, key=key, source=source, step=step)
