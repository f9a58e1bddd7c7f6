"""Data of `product.*` events."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from bus.schemas.base import EventData


class Product(EventData):
    """What every event about a product says."""

    product_id: str | None = Field(None, description="The product")


class ProductCreated(Product):
    """A product is new in the catalogue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "productId": "prod-1",
                    "sku": "LAMP-DESK-01",
                    "name": "Desk lamp",
                    "category": "lighting",
                    "price": 99.99,
                    "currency": "EUR",
                }
            ]
        }
    )

    sku: str | None = Field(None, description="Stock keeping unit")
    name: str | None = Field(None, description="Name")
    category: str | None = Field(None, description="Category")
    price: float | None = Field(None, description="Price of one")
    currency: str | None = Field(None, description="Currency, ISO 4217")


class ProductUpdated(Product):
    """What the catalogue says of a product changed."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"productId": "prod-1", "changes": {"name": "Desk lamp, dimmable"}}]}
    )

    changes: dict[str, Any] | None = Field(None, description="The new values by name of what changed")


class ProductDeleted(Product):
    """A product is no longer sold."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"productId": "prod-1", "sku": "LAMP-DESK-01", "reason": "discontinued"}]}
    )

    sku: str | None = Field(None, description="Stock keeping unit")
    reason: str | None = Field(None, description="Why")


class ProductPriceChanged(Product):
    """A product costs more or less than before."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "productId": "prod-1",
                    "oldPrice": 99.99,
                    "newPrice": 89.99,
                    "currency": "EUR",
                    "effectiveFrom": "2024-01-16T00:00:00.000Z",
                }
            ]
        }
    )

    old_price: float | None = Field(None, description="Price of one before")
    new_price: float | None = Field(None, description="Price of one since")
    currency: str | None = Field(None, description="Currency, ISO 4217")
    effective_from: str | None = Field(None, description="Since when, ISO 8601")
