"""Recommendation Service: learns what customers like, and reminds them of it."""

from __future__ import annotations

import logging
from typing import Any

from bus.catalog import CONSUMER_GROUPS, TOPICS
from bus.envelope import Metadata
from bus.handlers import handler
from eventconsole.demo.outages import ModelServerError
from eventconsole.demo.simulation import simulated

log = logging.getLogger(__name__)

MODEL_DOWN = ModelServerError("deadline exceeded while waiting for the model server")


@handler(
    TOPICS.PAYMENT_SUCCEEDED,
    TOPICS.USER_WISHLIST_UPDATED,
    TOPICS.USER_DELETED,
    TOPICS.CART_ITEM_ADDED,
    TOPICS.CART_ITEM_REMOVED,
    TOPICS.CART_UPDATED,
    group=CONSUMER_GROUPS.RECOMMENDATION,
)
@simulated(MODEL_DOWN)
async def update_preferences(data: Any, metadata: Metadata) -> None:
    log.debug("preferences updated", extra={"eventId": metadata.event_id, "userId": data.get("userId")})


@handler(TOPICS.CART_ABANDONED, group=CONSUMER_GROUPS.RECOMMENDATION)
@simulated(MODEL_DOWN)
async def trigger_retargeting(data: Any, metadata: Metadata) -> None:
    log.debug("retargeting triggered", extra={"eventId": metadata.event_id, "userId": data.get("userId")})


@handler(
    TOPICS.PRODUCT_CREATED,
    TOPICS.PRODUCT_UPDATED,
    TOPICS.PRODUCT_DELETED,
    TOPICS.PRODUCT_PRICE_CHANGED,
    group=CONSUMER_GROUPS.RECOMMENDATION,
)
@simulated(MODEL_DOWN)
def index_product(data: Any, metadata: Metadata) -> None:
    log.debug("product indexed", extra={"eventId": metadata.event_id, "productId": data.get("productId")})
