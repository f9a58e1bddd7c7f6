"""What the models have in common, and the parts that several of them hold."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class EventData(BaseModel):
    """Data of an event: camelCase in JSON, snake_case in Python, nothing required, more allowed.

    Numbers pass where text is described: other systems have numeric ids.
    """

    model_config = ConfigDict(
        extra="allow",
        alias_generator=to_camel,
        populate_by_name=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )


class Address(EventData):
    """A postal address."""

    name: str | None = Field(None, description="Who lives there")
    street: str | None = Field(None, description="Street and house number")
    postal_code: str | None = Field(None, description="Postal code")
    city: str | None = Field(None, description="City")
    country: str | None = Field(None, description="Country, ISO 3166 (two letters)")


class Item(EventData):
    """A product in an order or a cart."""

    product_id: str | None = Field(None, description="The product")
    name: str | None = Field(None, description="The product's name when it was chosen")
    quantity: float | None = Field(None, description="How many")
    price: float | None = Field(None, description="Price of one, in the currency of the order or cart")


class Stock(EventData):
    """How many of a product."""

    product_id: str | None = Field(None, description="The product")
    quantity: float | None = Field(None, description="How many")


def example(model: type[BaseModel] | None) -> Any:
    """The first example that a model gives of its data, or None."""
    extra = model.model_config.get("json_schema_extra") if model else None
    found = extra.get("examples") if isinstance(extra, dict) else None
    return deepcopy(found[0]) if isinstance(found, list) and found else None
