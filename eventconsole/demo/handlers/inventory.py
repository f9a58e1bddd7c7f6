"""Inventory Service: keeps stock for orders, and says when a product runs out."""

from __future__ import annotations

from typing import Any

from bus.catalog import TOPICS
from bus.envelope import Metadata
from bus.handlers import handler
from eventconsole.demo.catalog import INVENTORY
from eventconsole.demo.follow_ups import follow_up, label, part_of_order
from eventconsole.demo.outages import StockLockError
from eventconsole.demo.simulation import simulated

SOURCE = "inventory-service"
STOCK_LOCKED = StockLockError("lock on stock not granted within 2 s")
DEFAULT_THRESHOLD = 10
#: An order may name a million products; a reservation is committed for so many of them.
MOST_ITEMS = 20


@handler(TOPICS.ORDER_CREATED, group=INVENTORY)
@simulated(STOCK_LOCKED)
def reserve_stock(data: Any, metadata: Metadata) -> None:
    order_id = label(data.get("orderId"), metadata.event_id)
    reserved = {
        "orderId": data.get("orderId"),
        "reservationId": part_of_order("reservation", order_id),
        "items": data.get("items"),
    }
    follow_up(metadata, TOPICS.INVENTORY_RESERVED, reserved, key=order_id, source=SOURCE)


@handler(TOPICS.PAYMENT_SUCCEEDED, group=INVENTORY)
@simulated(STOCK_LOCKED)
def commit_reservation(data: Any, metadata: Metadata) -> None:
    for number, item in enumerate((data.get("items") or [])[:MOST_ITEMS]):
        sold = {"productId": item.get("productId"), "sold": item.get("quantity"), "orderId": data.get("orderId")}
        product_id = label(item.get("productId"), metadata.event_id)
        follow_up(metadata, TOPICS.INVENTORY_UPDATED, sold, key=product_id, source=SOURCE, step=str(number))


@handler(TOPICS.ORDER_CANCELLED, group=INVENTORY)
@simulated(STOCK_LOCKED)
def release_stock(data: Any, metadata: Metadata) -> None:
    order_id = label(data.get("orderId"), metadata.event_id)
    released = {
        "orderId": data.get("orderId"),
        "reservationId": part_of_order("reservation", order_id),
        "items": data.get("items"),
        "reason": data.get("reason"),
    }
    follow_up(metadata, TOPICS.INVENTORY_RELEASED, released, key=order_id, source=SOURCE)


@handler(TOPICS.INVENTORY_UPDATED, group=INVENTORY)
@simulated(STOCK_LOCKED)
def watch_stock(data: Any, metadata: Metadata) -> None:
    quantity, threshold = _count(data.get("quantity")), _count(data.get("threshold"))
    threshold = DEFAULT_THRESHOLD if threshold is None else threshold
    if quantity is None or quantity >= threshold:
        return
    low = {
        "productId": data.get("productId"),
        "sku": data.get("sku"),
        "quantity": quantity,
        "threshold": threshold,
        "warehouseId": data.get("warehouseId"),
    }
    product_id = label(data.get("productId"), metadata.event_id)
    follow_up(metadata, TOPICS.INVENTORY_STOCK_LOW, low, key=product_id, source=SOURCE)


def _count(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
