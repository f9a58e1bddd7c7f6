"""Data of `order.*` events."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from bus.schemas.base import Address, EventData, Item


class Order(EventData):
    """What every event about an order says."""

    order_id: str | None = Field(None, description="The order")
    user_id: str | None = Field(None, description="The customer")


class OrderCreated(Order):
    """A customer placed an order; nothing is reserved or paid yet."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "orderId": "order-1001",
                    "userId": "user-456",
                    "totalAmount": 199.98,
                    "currency": "EUR",
                    "items": [{"productId": "prod-1", "name": "Desk lamp", "quantity": 2, "price": 99.99}],
                    "shippingAddress": {
                        "name": "Ada Okafor",
                        "street": "Lindenweg 4",
                        "postalCode": "50667",
                        "city": "Köln",
                        "country": "DE",
                    },
                }
            ]
        }
    )

    total_amount: float | None = Field(None, description="What the order costs in all")
    currency: str | None = Field(None, description="Currency, ISO 4217")
    items: list[Item] | None = Field(None, description="What was ordered")
    shipping_address: Address | None = Field(None, description="Where to send it")


class OrderConfirmed(Order):
    """The order is paid and will be sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "orderId": "order-1001",
                    "userId": "user-456",
                    "paymentId": "payment-2001",
                    "totalAmount": 199.98,
                    "currency": "EUR",
                    "confirmedAt": "2024-01-15T10:30:02.000Z",
                }
            ]
        }
    )

    payment_id: str | None = Field(None, description="The payment that succeeded")
    total_amount: float | None = Field(None, description="What was paid")
    currency: str | None = Field(None, description="Currency, ISO 4217")
    confirmed_at: str | None = Field(None, description="When, ISO 8601")


class OrderShipped(Order):
    """The order left the warehouse."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "orderId": "order-1001",
                    "userId": "user-456",
                    "carrier": "DHL",
                    "trackingNumber": "JJD000390007812345678",
                    "estimatedDelivery": "2024-01-18",
                    "shippedAt": "2024-01-16T08:12:00.000Z",
                }
            ]
        }
    )

    carrier: str | None = Field(None, description="Who delivers it")
    tracking_number: str | None = Field(None, description="The carrier's number for it")
    estimated_delivery: str | None = Field(None, description="Day on which it should arrive, ISO 8601")
    shipped_at: str | None = Field(None, description="When, ISO 8601")


class OrderDelivered(Order):
    """The order arrived."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "orderId": "order-1001",
                    "userId": "user-456",
                    "deliveredAt": "2024-01-18T13:40:00.000Z",
                    "signedBy": "A. Okafor",
                }
            ]
        }
    )

    delivered_at: str | None = Field(None, description="When, ISO 8601")
    signed_by: str | None = Field(None, description="Who took it in")


class OrderCancelled(Order):
    """The order won't be sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "orderId": "order-1001",
                    "userId": "user-456",
                    "reason": "payment_failed",
                    "cancelledBy": "order-service",
                    "cancelledAt": "2024-01-15T10:31:00.000Z",
                }
            ]
        }
    )

    reason: str | None = Field(None, description="Why")
    cancelled_by: str | None = Field(None, description="The customer or the service that cancelled it")
    cancelled_at: str | None = Field(None, description="When, ISO 8601")


class OrderStatusChanged(Order):
    """The order went from one status to another."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "orderId": "order-1001",
                    "userId": "user-456",
                    "previousStatus": "confirmed",
                    "newStatus": "packed",
                    "changedAt": "2024-01-15T16:05:00.000Z",
                }
            ]
        }
    )

    previous_status: str | None = Field(None, description="The status before")
    new_status: str | None = Field(None, description="The status since")
    changed_at: str | None = Field(None, description="When, ISO 8601")
