"""Data of `user.*` events."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from bus.schemas.base import Address, EventData


class User(EventData):
    """What every event about a user says."""

    user_id: str | None = Field(None, description="The user")


class UserRegistered(User):
    """Somebody made an account."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "userId": "user-456",
                    "email": "ada.okafor@example.com",
                    "name": "Ada Okafor",
                    "locale": "de-DE",
                    "registeredAt": "2024-01-15T09:00:00.000Z",
                }
            ]
        }
    )

    email: str | None = Field(None, description="Email address")
    name: str | None = Field(None, description="Full name")
    locale: str | None = Field(None, description="Language and region, BCP 47")
    registered_at: str | None = Field(None, description="When, ISO 8601")


class UserUpdated(User):
    """A profile changed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"userId": "user-456", "changes": {"name": "Ada Okafor-Lind", "newsletter": True}}]
        }
    )

    changes: dict[str, Any] | None = Field(None, description="The new values by name of what changed")


class UserDeleted(User):
    """An account is gone."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"userId": "user-456", "reason": "user_request", "deletedAt": "2024-01-20T18:00:00.000Z"}]
        }
    )

    reason: str | None = Field(None, description="Why")
    deleted_at: str | None = Field(None, description="When, ISO 8601")


class UserAddressAdded(User):
    """A user has one more address."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "userId": "user-456",
                    "addressId": "address-7",
                    "address": {
                        "name": "Ada Okafor",
                        "street": "Lindenweg 4",
                        "postalCode": "50667",
                        "city": "Köln",
                        "country": "DE",
                    },
                    "isDefault": True,
                }
            ]
        }
    )

    address_id: str | None = Field(None, description="The address's id")
    address: Address | None = Field(None, description="The address")
    is_default: bool | None = Field(None, description="Whether orders go there unless the user says otherwise")


class UserWishlistUpdated(User):
    """A user put products on the wish list, or took some off it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"userId": "user-456", "added": ["prod-9"], "removed": [], "itemCount": 4}]}
    )

    added: list[str] | None = Field(None, description="Products that are on the list now")
    removed: list[str] | None = Field(None, description="Products that no longer are")
    item_count: float | None = Field(None, description="How many are on the list")
