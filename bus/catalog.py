"""The topics, consumer groups and priorities of the installation.

The 28 topics and 4 groups of the specification are here. A project adds its own in the `catalog.py` of any installed
app, which is imported at start:

    from bus import catalog

    catalog.add_topic("invoice.sent", "Invoice sent to the customer", model=InvoiceSent)
    catalog.add_group("billing-service-group", "Billing Service (invoices and reminders)")
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bus.errors import ConfigurationError
from bus.schemas import carts, inventory, orders, payments, products, users

if TYPE_CHECKING:
    from pydantic import BaseModel

DEAD_LETTER_SUFFIX = ".dlq"
REPLAY_SUFFIX = ".replay"

# Kafka's own rule is [a-zA-Z0-9._-]{1,249}; ours leaves room for the suffixes.
_TOPIC_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,199}")
_GROUP_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,199}")


class Priority(StrEnum):
    """How urgent an event is. Handlers may take only some (`priorities=`); Kafka's order doesn't change."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and what its events say. `model`, a pydantic model of `data`, is checked at publish and at consume."""

    name: str
    description: str
    model: type[BaseModel] | None = None


@dataclass(frozen=True, slots=True)
class ConsumerGroup:
    """A consumer group: one service that sees each event of its topics once."""

    name: str
    description: str


class TOPICS:
    """Names of the specification's topics."""

    ORDER_CREATED = "order.created"
    ORDER_CONFIRMED = "order.confirmed"
    ORDER_SHIPPED = "order.shipped"
    ORDER_DELIVERED = "order.delivered"
    ORDER_CANCELLED = "order.cancelled"
    ORDER_STATUS_CHANGED = "order.status_changed"
    PAYMENT_INITIATED = "payment.initiated"
    PAYMENT_SUCCEEDED = "payment.succeeded"
    PAYMENT_FAILED = "payment.failed"
    PAYMENT_REFUNDED = "payment.refunded"
    PAYMENT_REFUND_FAILED = "payment.refund_failed"
    USER_REGISTERED = "user.registered"
    USER_UPDATED = "user.updated"
    USER_DELETED = "user.deleted"
    USER_ADDRESS_ADDED = "user.address_added"
    USER_WISHLIST_UPDATED = "user.wishlist_updated"
    CART_ITEM_ADDED = "cart.item_added"
    CART_ITEM_REMOVED = "cart.item_removed"
    CART_ABANDONED = "cart.abandoned"
    CART_UPDATED = "cart.updated"
    PRODUCT_CREATED = "product.created"
    PRODUCT_UPDATED = "product.updated"
    PRODUCT_DELETED = "product.deleted"
    PRODUCT_PRICE_CHANGED = "product.price_changed"
    INVENTORY_UPDATED = "inventory.updated"
    INVENTORY_RESERVED = "inventory.reserved"
    INVENTORY_RELEASED = "inventory.released"
    INVENTORY_STOCK_LOW = "inventory.stock_low"


class CONSUMER_GROUPS:  # noqa: N801 -- the specification's spelling
    """Names of the specification's consumer groups."""

    NOTIFICATION = "notification-service-group"
    ANALYTICS = "analytics-service-group"
    EMAIL = "email-service-group"
    RECOMMENDATION = "recommendation-service-group"


_topics: dict[str, Topic] = {}
_groups: dict[str, ConsumerGroup] = {}


def add_topic(name: str, description: str, model: type[BaseModel] | None = None) -> Topic:
    """Add a topic; the same definition twice is one. Raises ConfigurationError for a bad or taken name."""
    if not _TOPIC_NAME.fullmatch(name) or is_reserved(name):
        raise ConfigurationError(
            f"topic {name!r}: a name is 1 to 200 of a-z, A-Z, 0-9, '.', '_' and '-', begins with a letter or digit "
            f"and doesn't end with {DEAD_LETTER_SUFFIX} or {REPLAY_SUFFIX}, which the bus keeps for itself"
        )
    topic = Topic(name, description, model)
    if _topics.setdefault(name, topic) != topic:
        raise ConfigurationError(f"topic {name!r} is already in the catalog with another description or model")
    return topic


def add_group(name: str, description: str) -> ConsumerGroup:
    """Add a consumer group; the same definition twice is one. Raises ConfigurationError for a bad or taken name."""
    if not _GROUP_NAME.fullmatch(name):
        raise ConfigurationError(
            f"group {name!r}: a name is 1 to 200 of a-z, A-Z, 0-9, '_' and '-' and begins with a letter or digit"
        )
    group = ConsumerGroup(name, description)
    if _groups.setdefault(name, group) != group:
        raise ConfigurationError(f"group {name!r} is already in the catalog with another description")
    return group


def topics() -> dict[str, Topic]:
    """All topics by name, the specification's first."""
    return dict(_topics)


def groups() -> dict[str, ConsumerGroup]:
    """All consumer groups by name, the specification's first."""
    return dict(_groups)


def topic(name: str) -> Topic | None:
    """The topic of that name, or None."""
    return _topics.get(name)


def dead_letter_topic(name: str) -> str:
    """Where events of the topic go whose attempts are used up."""
    return name + DEAD_LETTER_SUFFIX


def replay_topic(group: str) -> str:
    """Where dead letters of the group are delivered again; only that group reads it."""
    return group + REPLAY_SUFFIX


def is_reserved(name: str) -> bool:
    """Whether only the bus itself writes to the topic."""
    return name.endswith((DEAD_LETTER_SUFFIX, REPLAY_SUFFIX))


add_topic(TOPICS.ORDER_CREATED, "Order created", orders.OrderCreated)
add_topic(TOPICS.ORDER_CONFIRMED, "Order confirmed (payment succeeded)", orders.OrderConfirmed)
add_topic(TOPICS.ORDER_SHIPPED, "Order shipped", orders.OrderShipped)
add_topic(TOPICS.ORDER_DELIVERED, "Order delivered", orders.OrderDelivered)
add_topic(TOPICS.ORDER_CANCELLED, "Order cancelled", orders.OrderCancelled)
add_topic(TOPICS.ORDER_STATUS_CHANGED, "Order status changed", orders.OrderStatusChanged)
add_topic(TOPICS.PAYMENT_INITIATED, "Payment initiated", payments.PaymentInitiated)
add_topic(TOPICS.PAYMENT_SUCCEEDED, "Payment succeeded", payments.PaymentSucceeded)
add_topic(TOPICS.PAYMENT_FAILED, "Payment failed", payments.PaymentFailed)
add_topic(TOPICS.PAYMENT_REFUNDED, "Payment refunded", payments.PaymentRefunded)
add_topic(TOPICS.PAYMENT_REFUND_FAILED, "Refund failed", payments.PaymentRefundFailed)
add_topic(TOPICS.USER_REGISTERED, "User registered", users.UserRegistered)
add_topic(TOPICS.USER_UPDATED, "User profile updated", users.UserUpdated)
add_topic(TOPICS.USER_DELETED, "User deleted", users.UserDeleted)
add_topic(TOPICS.USER_ADDRESS_ADDED, "Address added", users.UserAddressAdded)
add_topic(TOPICS.USER_WISHLIST_UPDATED, "Wishlist updated", users.UserWishlistUpdated)
add_topic(TOPICS.CART_ITEM_ADDED, "Item added to cart", carts.CartItemAdded)
add_topic(TOPICS.CART_ITEM_REMOVED, "Item removed from cart", carts.CartItemRemoved)
add_topic(TOPICS.CART_ABANDONED, "Cart abandoned (inactive)", carts.CartAbandoned)
add_topic(TOPICS.CART_UPDATED, "Cart updated", carts.CartUpdated)
add_topic(TOPICS.PRODUCT_CREATED, "Product created", products.ProductCreated)
add_topic(TOPICS.PRODUCT_UPDATED, "Product updated", products.ProductUpdated)
add_topic(TOPICS.PRODUCT_DELETED, "Product deleted", products.ProductDeleted)
add_topic(TOPICS.PRODUCT_PRICE_CHANGED, "Product price changed", products.ProductPriceChanged)
add_topic(TOPICS.INVENTORY_UPDATED, "Inventory updated", inventory.InventoryUpdated)
add_topic(TOPICS.INVENTORY_RESERVED, "Stock reserved", inventory.InventoryReserved)
add_topic(TOPICS.INVENTORY_RELEASED, "Stock released", inventory.InventoryReleased)
add_topic(TOPICS.INVENTORY_STOCK_LOW, "Stock below threshold", inventory.InventoryStockLow)

add_group(CONSUMER_GROUPS.NOTIFICATION, "Notification Service (emails/SMS)")
add_group(CONSUMER_GROUPS.ANALYTICS, "Analytics Service (data analysis)")
add_group(CONSUMER_GROUPS.EMAIL, "Email Service (transactional emails)")
add_group(CONSUMER_GROUPS.RECOMMENDATION, "Recommendation Service (ML models)")
