"""The specification's topics and groups, and what a project may add."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from bus import catalog
from bus.catalog import CONSUMER_GROUPS, TOPICS, Priority
from bus.errors import ConfigurationError

SPECIFIED = {
    "order.created": "Order created",
    "order.confirmed": "Order confirmed (payment succeeded)",
    "order.shipped": "Order shipped",
    "order.delivered": "Order delivered",
    "order.cancelled": "Order cancelled",
    "order.status_changed": "Order status changed",
    "payment.initiated": "Payment initiated",
    "payment.succeeded": "Payment succeeded",
    "payment.failed": "Payment failed",
    "payment.refunded": "Payment refunded",
    "payment.refund_failed": "Refund failed",
    "user.registered": "User registered",
    "user.updated": "User profile updated",
    "user.deleted": "User deleted",
    "user.address_added": "Address added",
    "user.wishlist_updated": "Wishlist updated",
    "cart.item_added": "Item added to cart",
    "cart.item_removed": "Item removed from cart",
    "cart.abandoned": "Cart abandoned (inactive)",
    "cart.updated": "Cart updated",
    "product.created": "Product created",
    "product.updated": "Product updated",
    "product.deleted": "Product deleted",
    "product.price_changed": "Product price changed",
    "inventory.updated": "Inventory updated",
    "inventory.reserved": "Stock reserved",
    "inventory.released": "Stock released",
    "inventory.stock_low": "Stock below threshold",
}
GROUPS = {
    "notification-service-group": "Notification Service (emails/SMS)",
    "analytics-service-group": "Analytics Service (data analysis)",
    "email-service-group": "Email Service (transactional emails)",
    "recommendation-service-group": "Recommendation Service (ML models)",
}


@pytest.fixture(autouse=True)
def own_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds is gone after it."""
    monkeypatch.setattr(catalog, "_topics", dict(catalog._topics))
    monkeypatch.setattr(catalog, "_groups", dict(catalog._groups))


def constants(names: type) -> list[str]:
    return [value for name, value in vars(names).items() if name.isupper()]


def test_the_28_topics_of_the_specification_are_there_word_for_word() -> None:
    found = {name: topic.description for name, topic in catalog.topics().items()}

    assert len(SPECIFIED) == 28
    assert {name: found.get(name) for name in SPECIFIED} == SPECIFIED


def test_the_groups_of_the_specification_are_there_word_for_word() -> None:
    found = {name: group.description for name, group in catalog.groups().items()}

    assert {name: found.get(name) for name in GROUPS} == GROUPS


def test_every_specified_name_is_a_constant() -> None:
    assert sorted(constants(TOPICS)) == sorted(SPECIFIED)
    assert sorted(constants(CONSUMER_GROUPS)) == sorted(GROUPS)


@pytest.mark.parametrize("name", SPECIFIED)
def test_a_constant_is_named_like_its_topic(name: str) -> None:
    assert getattr(TOPICS, name.replace(".", "_").upper()) == name


def test_priorities_are_those_of_the_specification() -> None:
    assert [str(priority) for priority in Priority] == ["critical", "high", "normal", "low"]


def test_dead_letters_and_replays_have_topics_of_their_own() -> None:
    assert catalog.dead_letter_topic("payment.failed") == "payment.failed.dlq"
    assert catalog.replay_topic("email-service-group") == "email-service-group.replay"
    assert catalog.is_reserved("payment.failed.dlq")
    assert catalog.is_reserved("email-service-group.replay")
    assert not any(catalog.is_reserved(name) for name in SPECIFIED)


def test_a_project_adds_topics_and_groups() -> None:
    class InvoiceSent(BaseModel):
        number: int

    added = catalog.add_topic("invoice.sent", "Invoice sent", model=InvoiceSent)
    group = catalog.add_group("billing-service-group", "Billing")

    assert catalog.topic("invoice.sent") is added
    assert added.model is InvoiceSent
    assert catalog.groups()["billing-service-group"] == group


def test_the_same_definition_twice_is_one() -> None:
    assert catalog.add_topic("invoice.sent", "Invoice sent") == catalog.add_topic("invoice.sent", "Invoice sent")
    assert catalog.add_group("billing", "Billing") == catalog.add_group("billing", "Billing")


def test_another_definition_of_a_taken_name_is_refused_and_changes_nothing() -> None:
    with pytest.raises(ConfigurationError, match=r"order\.created"):
        catalog.add_topic("order.created", "Something else")
    with pytest.raises(ConfigurationError, match="email-service-group"):
        catalog.add_group("email-service-group", "Something else")

    assert catalog.topics()["order.created"].description == "Order created"
    assert catalog.groups()["email-service-group"].description == GROUPS["email-service-group"]


@pytest.mark.parametrize(
    "name", ["", ".", "a b", "ä", "a/b", "-a", "order.dlq", "x.replay", "a" * 201, "a\n", "order.created\n"]
)
def test_a_topic_name_that_kafka_or_the_bus_cannot_use_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="topic"):
        catalog.add_topic(name, "x")


@pytest.mark.parametrize("name", ["", "a.b", "a b", "ä", "_a", "a" * 201, "a\n"])
def test_a_group_name_that_would_not_make_a_topic_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="group"):
        catalog.add_group(name, "x")


def test_no_name_gets_too_long_for_kafka_with_its_suffix() -> None:
    topic, group = catalog.add_topic("t" * 200, "x"), catalog.add_group("g" * 200, "x")

    assert len(catalog.dead_letter_topic(topic.name)) <= 249
    assert len(catalog.dead_letter_topic(catalog.replay_topic(group.name))) <= 249


def test_what_is_handed_out_is_a_copy() -> None:
    catalog.topics().clear()
    catalog.groups().clear()

    assert len(catalog.topics()) >= 28
    assert len(catalog.groups()) >= 4


def test_an_unknown_topic_is_none() -> None:
    assert catalog.topic("no.such") is None
