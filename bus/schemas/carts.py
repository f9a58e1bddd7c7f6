"""Data of `cart.*` events."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from bus.schemas.base import EventData, Item


class Cart(EventData):
    """What every event about a cart says."""

    cart_id: str | None = Field(None, description="The cart")
    user_id: str | None = Field(None, description="Whose it is")


class CartItemAdded(Cart):
    """Something was put into the cart."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"cartId": "cart-77", "userId": "user-456", "productId": "prod-1", "quantity": 1, "price": 99.99}
            ]
        }
    )

    product_id: str | None = Field(None, description="The product")
    quantity: float | None = Field(None, description="How many were added")
    price: float | None = Field(None, description="Price of one")


class CartItemRemoved(Cart):
    """Something was taken out of the cart."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"cartId": "cart-77", "userId": "user-456", "productId": "prod-1", "quantity": 1}]
        }
    )

    product_id: str | None = Field(None, description="The product")
    quantity: float | None = Field(None, description="How many were taken out")


class CartAbandoned(Cart):
    """A cart with something in it hasn't been touched for a while."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "cartId": "cart-77",
                    "userId": "user-456",
                    "items": [{"productId": "prod-1", "name": "Desk lamp", "quantity": 1, "price": 99.99}],
                    "totalAmount": 99.99,
                    "currency": "EUR",
                    "lastActivityAt": "2024-01-14T21:15:00.000Z",
                }
            ]
        }
    )

    items: list[Item] | None = Field(None, description="What is in it")
    total_amount: float | None = Field(None, description="What it would cost in all")
    currency: str | None = Field(None, description="Currency, ISO 4217")
    last_activity_at: str | None = Field(None, description="When it was last touched, ISO 8601")


class CartUpdated(Cart):
    """The cart's content changed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"cartId": "cart-77", "userId": "user-456", "itemCount": 3, "totalAmount": 219.97, "currency": "EUR"}
            ]
        }
    )

    item_count: float | None = Field(None, description="How many things are in it")
    total_amount: float | None = Field(None, description="What it would cost in all")
    currency: str | None = Field(None, description="Currency, ISO 4217")
