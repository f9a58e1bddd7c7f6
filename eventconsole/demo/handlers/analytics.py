"""Analytics Service: counts everything."""

from __future__ import annotations

import logging
from typing import Any

from bus.catalog import CONSUMER_GROUPS, TOPICS
from bus.envelope import Metadata
from bus.handlers import handler
from eventconsole.demo.outages import WarehouseError
from eventconsole.demo.simulation import simulated

log = logging.getLogger(__name__)

COUNTED = (
    TOPICS.ORDER_CONFIRMED,
    TOPICS.ORDER_SHIPPED,
    TOPICS.ORDER_DELIVERED,
    TOPICS.ORDER_CANCELLED,
    TOPICS.ORDER_STATUS_CHANGED,
    TOPICS.PAYMENT_INITIATED,
    TOPICS.PAYMENT_SUCCEEDED,
    TOPICS.PAYMENT_FAILED,
    TOPICS.PAYMENT_REFUNDED,
    TOPICS.PAYMENT_REFUND_FAILED,
    TOPICS.USER_REGISTERED,
    TOPICS.USER_UPDATED,
    TOPICS.USER_DELETED,
    TOPICS.USER_ADDRESS_ADDED,
    TOPICS.USER_WISHLIST_UPDATED,
    TOPICS.CART_ITEM_ADDED,
    TOPICS.CART_ITEM_REMOVED,
    TOPICS.CART_UPDATED,
    TOPICS.PRODUCT_CREATED,
    TOPICS.PRODUCT_UPDATED,
    TOPICS.PRODUCT_DELETED,
    TOPICS.PRODUCT_PRICE_CHANGED,
    TOPICS.INVENTORY_UPDATED,
    TOPICS.INVENTORY_RESERVED,
    TOPICS.INVENTORY_RELEASED,
    TOPICS.INVENTORY_STOCK_LOW,
)


@handler(TOPICS.ORDER_CREATED, group=CONSUMER_GROUPS.ANALYTICS)
@simulated(WarehouseError("insert into conversions: connection reset by peer"))
async def track_conversion(data: Any, metadata: Metadata) -> None:
    log.debug("conversion tracked", extra={"eventId": metadata.event_id, "amount": data.get("totalAmount")})


@handler(TOPICS.CART_ABANDONED, group=CONSUMER_GROUPS.ANALYTICS)
@simulated(WarehouseError("insert into abandonments: connection reset by peer"))
async def track_abandonment(data: Any, metadata: Metadata) -> None:
    log.debug("abandonment tracked", extra={"eventId": metadata.event_id, "amount": data.get("totalAmount")})


@handler(*COUNTED, group=CONSUMER_GROUPS.ANALYTICS)
@simulated(WarehouseError("insert into events: connection reset by peer"))
async def count(data: Any, metadata: Metadata) -> None:
    log.debug("event counted", extra={"eventId": metadata.event_id, "eventType": metadata.event_type})
