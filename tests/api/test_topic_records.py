"""Browsing topics over the API; what a look finds is tested in tests/contract/test_browsing.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from bus import conf
from bus.conf import BusSettings
from bus.embedded.kafka import EmbeddedKafka
from bus.models import TopicState
from eventconsole.api import topics
from eventconsole.api.tokens import Caller
from tests.kafka.contact import produce

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def kafka(embedded_kafka: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedKafka]:
    settings = BusSettings(kafka_brokers=embedded_kafka.bootstrap)
    monkeypatch.setattr(conf, "current", lambda: settings)
    topics._threads.cache_clear()
    yield embedded_kafka
    topics._threads().close()
    topics._threads.cache_clear()


def url(topic: str = "order.shipped") -> str:
    return f"/api/topics/{topic}/records"


async def test_records_come_with_their_place_and_the_effort(api: httpx.AsyncClient, kafka: EmbeddedKafka) -> None:
    values = [f'{{"n": {number}, "text": "{"x" * 3000}"}}'.encode() for number in range(5)]
    produce(kafka.bootstrap, "order.shipped", values, b"k", headers=[("event-id", b"e-1")], partition=1)
    answer = (await api.get(url(), params={"limit": 3})).json()
    assert [(row["partition"], row["offset"]) for row in answer["data"]] == [(1, 4), (1, 3), (1, 2)]
    first = answer["data"][0]
    assert (first["key"], first["eventId"], first["isCut"]) == ("k", "e-1", True)
    assert len(first["value"]) <= topics.SHOWN
    assert answer["effort"]["scanned"] == 3
    rest = (await api.get(url(), params={"limit": 3, "cursor": answer["next"]})).json()
    assert [row["offset"] for row in rest["data"]] == [1, 0]
    assert rest["next"] is None


async def test_an_event_is_shown_by_what_it_says(api: httpx.AsyncClient, kafka: EmbeddedKafka) -> None:
    event = b'{"metadata": {"eventId": "e-2"}, "data": {"orderId": 7}}'
    produce(kafka.bootstrap, "order.delivered", [event, b"\xff\x00", b"[1]", None], partition=0)
    rows = (await api.get(url("order.delivered"), params={"start": "oldest"})).json()["data"]
    assert [row["data"] for row in rows] == ['{"orderId":7}', None, None, None]
    assert [row["value"] for row in rows][1:] == ["\ufffd\x00", "[1]", None]


async def test_one_record_is_shown_whole(api: httpx.AsyncClient, kafka: EmbeddedKafka) -> None:
    value = b'{"text": "' + b"x" * 5000 + b'"}'
    produce(kafka.bootstrap, "order.cancelled", [value], b"\xff", headers=[("h", b"1"), ("n", None)], partition=2)
    found = (await api.get(f"{url('order.cancelled')}/2/0")).json()["data"]
    assert found["value"] == {"encoding": "utf-8", "text": value.decode()}
    assert found["key"] == {"encoding": "base64", "text": "/w=="}
    assert found["headers"] == [{"name": "h", "encoding": "utf-8", "text": "1"}, {"name": "n", "text": None}]
    missing = await api.get(f"{url('order.cancelled')}/2/1")
    assert missing.status_code == 404
    assert "order.cancelled[2]@1" in missing.text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"start": "yesterday"}, "allowed are newest, oldest, an offset"),
        ({"cursor": "bm9wZQ"}, "the cursor isn't one"),
        ({"partition": "9"}, "partition: 9 given"),
        ({"limit": "100000"}, "limit"),
        ({"begin": "oldest"}, "begin"),
    ],
)
async def test_bad_input_is_named(
    api: httpx.AsyncClient, kafka: EmbeddedKafka, query: dict[str, str], words: str
) -> None:
    response = await api.get(url(), params=query)
    assert response.status_code == 422
    assert words in response.text


async def test_a_token_sees_its_own_topics_only(
    api: httpx.AsyncClient, kafka: EmbeddedKafka, callers: dict[str, Caller]
) -> None:
    kafka.create_topic("order.shipped.dlq", 4)
    callers["orders"] = Caller("orders", frozenset({"read"}), ("order.*",))
    callers["publisher"] = Caller("publisher", frozenset({"publish"}))
    orders = {"Authorization": "Bearer orders"}
    assert (await api.get(url("order.shipped.dlq"), headers=orders)).status_code == 200
    assert (await api.get(url("payment.failed"), headers=orders)).status_code == 404
    assert (await api.get(f"{url('payment.failed')}/0/0", headers=orders)).status_code == 404
    # The replay topic of a group whose name fits by chance: it holds events of other topics as well.
    await TopicState.objects.acreate(name="order.service.replay", partition_count=4, sampled_at=datetime.now(UTC))
    assert (await api.get(url("order.service.replay"), headers=orders)).status_code == 404
    assert (await api.get(url(), headers={"Authorization": "Bearer publisher"})).status_code == 403
    assert (await api.get(url("no.such.topic"))).status_code == 404
