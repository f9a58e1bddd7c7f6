from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.test import Client

from bus.models import TopicState
from tests.pages.conftest import HOSTILE, is_escaped

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def topic(name: str, kind: str = "events", **fields: object) -> TopicState:
    return TopicState.objects.create(name=name, kind=kind, partition_count=4, sampled_at=NOW, **fields)


def shown(client: Client, query: str = "") -> list[str]:
    return [row["state"].name for row in client.get(f"/topics?{query}").context["rows"]]


def test_topics_of_a_kind_are_listed_and_sorted(operator: Client) -> None:
    topic("order.created", records=5)
    topic("cart.updated", records=9)
    topic("order.created.dlq", "dead-letters")
    topic("theirs", "foreign")
    assert shown(operator) == ["cart.updated", "order.created"]
    assert shown(operator, "sort=records") == ["order.created", "cart.updated"]
    assert shown(operator, "sort=-records") == ["cart.updated", "order.created"]
    assert shown(operator, "kind=foreign") == ["theirs"]
    assert shown(operator, "q=cart") == ["cart.updated"]
    assert shown(operator, "sort=nonsense&kind=nonsense") == ["cart.updated", "order.created"]


@pytest.mark.parametrize("sort", ["name", "-name", "records", "-records", "rate"])
def test_pages_of_many_topics_follow_each_other(operator: Client, sort: str) -> None:
    TopicState.objects.bulk_create(
        [TopicState(name=f"t{n:03}", kind="foreign", records=n % 7, sampled_at=NOW) for n in range(120)]
    )
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        context = operator.get(f"/topics?kind=foreign&sort={sort}&cursor={cursor}").context
        seen += [row["state"].name for row in context["rows"]]
        cursor = context["next"]
    assert len(seen) == 120
    assert len(set(seen)) == 120


def test_a_cursor_of_another_sort_leads_to_the_first_page(operator: Client) -> None:
    TopicState.objects.bulk_create([TopicState(name=f"t{n:03}", kind="foreign", sampled_at=NOW) for n in range(60)])
    cursor = operator.get("/topics?kind=foreign").context["next"]
    response = operator.get(f"/topics?kind=foreign&sort=records&cursor={cursor}")
    assert "this is the first page" in response.content.decode()


def test_a_topic_shows_schema_example_consumers_and_partitions(operator: Client) -> None:
    topic(
        "order.created",
        records=12,
        partitions=[{"partition": 0, "first": 3, "end": 15}],
        consumers=[{"group": "analytics-service-group", "lag": 4, "timeLag": 61.0}],
    )
    content = operator.get("/topics/order.created").content.decode()
    for expected in ("Order created", "totalAmount", "analytics-service-group", "1 min 1 s", "12 records"):
        assert expected in content, expected


def test_one_that_the_monitor_has_not_seen_is_shown_if_the_catalog_has_it(operator: Client) -> None:
    assert operator.get("/topics/order.created").status_code == 200
    response = operator.get("/topics/nothing.here")
    assert response.status_code == 404
    assert "nothing.here" in response.content.decode()


def test_names_of_others_are_text(operator: Client) -> None:
    topic(HOSTILE[:100].replace("/", "-"), "foreign", error=HOSTILE)
    name = TopicState.objects.get().name
    assert is_escaped(operator.get("/topics?kind=foreign").content)
    assert is_escaped(operator.get(f"/topics/{name}").content)


def test_it_takes_few_queries(operator: Client, django_assert_max_num_queries: Callable[..., object]) -> None:
    TopicState.objects.bulk_create([TopicState(name=f"t{n:03}", kind="events", sampled_at=NOW) for n in range(300)])
    with django_assert_max_num_queries(8):  # type: ignore[attr-defined]
        operator.get("/topics")
