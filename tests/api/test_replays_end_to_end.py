"""Replays over the API with a real engine on the embedded Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from bus.models import DeadLetter
from eventconsole.api import replay_desk
from tests.indexed import index, record
from tests.kafka.contact import records_of
from tests.kafka.subject import ONLY_EMBEDDED, KafkaUnderTest
from tests.shop.fixtures import Shop

pytestmark = [pytest.mark.django_db(transaction=True), ONLY_EMBEDDED]


@pytest.fixture(autouse=True)
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    yield
    replay_desk.close()


async def test_success_means_that_kafka_has_the_record(
    api: httpx.AsyncClient, open_shop: Callable[..., Shop], kafka: KafkaUnderTest
) -> None:
    shop = open_shop(partitions=1)
    index([record(0, shop.topic, key="ann", group=shop.group)])
    pk = DeadLetter.objects.get().pk
    answer = await api.post(f"/api/dead-letters/{pk}/replay", json={})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["data"]["sent"], answer.json()["data"]["pending"]) == (1, 1)
    (sent,) = records_of(kafka.bootstrap, f"{shop.group}.replay", 1)
    headers = dict(sent.headers() or [])
    assert (sent.key(), headers["event-id"], headers["dlq-generation"]) == (b"ann", b"event-0", b"1")
    assert (await api.post(f"/api/dead-letters/{pk}/replay", json={})).status_code == 409
