"""Order Service: confirms an order once it is paid, and cancels it when it can't be."""

from __future__ import annotations

from typing import Any

from bus.catalog import TOPICS
from bus.envelope import Metadata
from bus.handlers import handler
from eventconsole.demo.catalog import ORDER
from eventconsole.demo.follow_ups import follow_up, label
from eventconsole.demo.outages import OrderDatabaseError
from eventconsole.demo.simulation import simulated

SOURCE = "order-service"
DATABASE_DOWN = OrderDatabaseError("could not serialize access to orders due to concurrent update")


@handler(TOPICS.PAYMENT_SUCCEEDED, group=ORDER)
@simulated(DATABASE_DOWN)
def confirm_order(data: Any, metadata: Metadata) -> None:
    order_id = label(data.get("orderId"), metadata.event_id)
    confirmed = {
        "orderId": data.get("orderId"),
        "userId": data.get("userId"),
        "paymentId": data.get("paymentId"),
        "totalAmount": data.get("amount"),
        "currency": data.get("currency"),
        "confirmedAt": metadata.timestamp,
    }
    follow_up(metadata, TOPICS.ORDER_CONFIRMED, confirmed, key=order_id, source=SOURCE)
    _change_status(data, metadata, "confirmed")


@handler(TOPICS.PAYMENT_FAILED, group=ORDER)
@simulated(DATABASE_DOWN)
def cancel_order(data: Any, metadata: Metadata) -> None:
    cancelled = {
        "orderId": data.get("orderId"),
        "userId": data.get("userId"),
        "reason": "payment_failed",
        "cancelledBy": SOURCE,
        "cancelledAt": metadata.timestamp,
        "items": data.get("items"),
    }
    order_id = label(data.get("orderId"), metadata.event_id)
    follow_up(metadata, TOPICS.ORDER_CANCELLED, cancelled, key=order_id, source=SOURCE)
    _change_status(data, metadata, "cancelled")


def _change_status(data: Any, metadata: Metadata, status: str) -> None:
    changed = {
        "orderId": data.get("orderId"),
        "userId": data.get("userId"),
        "previousStatus": "created",
        "newStatus": status,
        "changedAt": metadata.timestamp,
    }
    order_id = label(data.get("orderId"), metadata.event_id)
    follow_up(metadata, TOPICS.ORDER_STATUS_CHANGED, changed, key=order_id, source=SOURCE)
