"""The models that ship with the specification's topics."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bus import catalog
from bus.catalog import TOPICS
from bus.schemas.base import EventData, example
from bus.schemas.carts import CartAbandoned
from bus.schemas.orders import OrderCreated

NAMES = sorted(value for name, value in vars(TOPICS).items() if name.isupper())


def model_of(name: str) -> type[EventData]:
    topic = catalog.topic(name)
    assert topic is not None
    assert topic.model is not None
    assert issubclass(topic.model, EventData)
    return topic.model


def test_there_are_28_topics_with_a_model_of_their_own() -> None:
    assert len(NAMES) == 28
    assert len({model_of(name) for name in NAMES}) == 28


@pytest.mark.parametrize("name", NAMES)
def test_model_describes_the_event_and_every_field(name: str) -> None:
    schema = model_of(name).model_json_schema()

    assert schema["description"]
    assert schema["properties"]
    described = [schema, *schema.get("$defs", {}).values()]
    fields = {field: value for each in described for field, value in each["properties"].items()}
    assert [field for field, value in fields.items() if not value.get("description")] == []
    assert [field for field in fields if "_" in field] == []


@pytest.mark.parametrize("name", NAMES)
def test_example_validates_and_shows_only_and_all_of_the_described_fields(name: str) -> None:
    model = model_of(name)
    given_example = example(model)

    read = model.model_validate(given_example)

    assert read.model_extra == {}
    assert set(given_example) == set(model.model_json_schema()["properties"])
    assert read.model_dump(by_alias=True, exclude_unset=True) == given_example
    assert json.loads(json.dumps(given_example)) == given_example


@pytest.mark.parametrize("name", NAMES)
def test_no_field_is_required_and_others_are_allowed(name: str) -> None:
    model = model_of(name)

    model.model_validate({})
    model.model_validate(dict.fromkeys(model.model_json_schema()["properties"]))
    assert model.model_validate({"simulate": "fail", "x-y": [1]}).model_extra == {"simulate": "fail", "x-y": [1]}


@pytest.mark.parametrize(
    "data",
    [
        {"orderId": "order-1", "totalAmount": 12},
        {"orderId": 17, "totalAmount": "12.50"},
        {"orderId": 2**70, "items": []},
        {"items": [{}, {"productId": 3, "colour": "red"}]},
    ],
)
def test_what_other_systems_send_is_taken(data: dict[str, Any]) -> None:
    OrderCreated.model_validate(data)


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ({"orderId": ["order-1"]}, ("orderId",)),
        ({"orderId": True}, ("orderId",)),
        ({"totalAmount": "a lot"}, ("totalAmount",)),
        ({"totalAmount": 10**400}, ("totalAmount",)),
        ({"totalAmount": "NaN"}, ("totalAmount",)),
        ({"items": {"productId": "prod-1"}}, ("items",)),
        ({"items": [{"quantity": {}}]}, ("items", 0, "quantity")),
        ([], ()),
        (None, ()),
    ],
)
def test_another_kind_of_thing_is_refused_by_its_json_name(data: Any, where: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        OrderCreated.model_validate(data)

    assert caught.value.errors()[0]["loc"] == where


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
_fields = st.sampled_from(["items", "totalAmount", "cartId", "currency", "anything"])


# Generating the first text builds tables of Unicode, which takes seconds on a busy machine without hypothesis's cache.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.dictionaries(_fields, _json, max_size=5))
def test_validation_never_changes_what_was_sent(data: dict[str, Any]) -> None:
    before = json.dumps(data)

    try:
        CartAbandoned.model_validate(data)
    except ValidationError:
        pass

    assert json.dumps(data) == before


def test_example_is_a_copy() -> None:
    example(OrderCreated)["items"].clear()

    assert example(OrderCreated)["items"]


def test_a_model_without_examples_has_none() -> None:
    assert example(EventData) is None
    assert example(None) is None
