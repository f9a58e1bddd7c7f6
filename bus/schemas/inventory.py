"""Data of `inventory.*` events."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from bus.schemas.base import EventData, Stock


class InventoryUpdated(Stock):
    """How many of a product there are changed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"productId": "prod-1", "sku": "LAMP-DESK-01", "quantity": 100, "warehouseId": "cgn-1"}]
        }
    )

    sku: str | None = Field(None, description="Stock keeping unit")
    warehouse_id: str | None = Field(None, description="Where they are")


class Reservation(EventData):
    """What events about a reservation say."""

    order_id: str | None = Field(None, description="The order that it is for")
    reservation_id: str | None = Field(None, description="The reservation")
    items: list[Stock] | None = Field(None, description="Which products, and how many of each")


class InventoryReserved(Reservation):
    """Stock is kept for an order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "orderId": "order-1001",
                    "reservationId": "reservation-501",
                    "items": [{"productId": "prod-1", "quantity": 2}],
                    "expiresAt": "2024-01-15T11:00:00.000Z",
                }
            ]
        }
    )

    expires_at: str | None = Field(None, description="When it is given up unless the order was paid, ISO 8601")


class InventoryReleased(Reservation):
    """Stock that was kept for an order is free again."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "orderId": "order-1001",
                    "reservationId": "reservation-501",
                    "items": [{"productId": "prod-1", "quantity": 2}],
                    "reason": "payment_failed",
                }
            ]
        }
    )

    reason: str | None = Field(None, description="Why")


class InventoryStockLow(Stock):
    """Fewer of a product are left than there should be."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "productId": "prod-1",
                    "sku": "LAMP-DESK-01",
                    "quantity": 4,
                    "threshold": 10,
                    "warehouseId": "cgn-1",
                }
            ]
        }
    )

    sku: str | None = Field(None, description="Stock keeping unit")
    threshold: float | None = Field(None, description="How many there should be at least")
    warehouse_id: str | None = Field(None, description="Where they are")
