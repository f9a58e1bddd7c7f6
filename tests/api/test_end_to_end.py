"""The API in a process of its own, on the embedded Kafka and Redis: what arrives, and what happens without them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.api.server import Server
from tests.processes import wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with closing(Server(tmp_path_factory.mktemp("api"))) as started:
        yield started


@pytest.fixture
def web(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def record(server: Server, data: dict[str, Any]) -> Any:
    """The record that an answer's `data` points at."""
    reader = Consumer({"bootstrap.servers": server.kafka.bootstrap, "group.id": "reader", "enable.auto.commit": False})
    with closing(reader):
        reader.assign([TopicPartition(data["topic"], data["partition"], data["offset"])])
        found = reader.poll(10)
    assert found is not None
    assert found.error() is None
    return found


def publish(web: httpx.Client, **body: Any) -> httpx.Response:
    return web.post("/api/events/publish", json={"topic": "order.created", "data": {}, **body})


def test_the_specifications_event_arrives_as_its_envelope_says(server: Server, web: httpx.Client) -> None:
    data = {"orderId": "order-uuid", "userId": "user-uuid", "totalAmount": 199.99, "items": [{"quantity": 2}]}
    labels = {"source": "order-service", "correlationId": "req-123456", "userId": "user-uuid", "priority": "high"}
    response = publish(web, data=data, key="order-uuid", **labels)
    assert response.status_code == 200
    assert response.json()["message"] == "Event published successfully"
    found = record(server, response.json()["data"])
    envelope = json.loads(found.value())
    assert envelope["data"] == data
    assert envelope["metadata"].pop("timestamp").endswith("Z")
    event_id = response.json()["data"]["eventId"]
    assert envelope["metadata"] == {"eventId": event_id, "eventType": "order.created", "version": "1.0.0", **labels}
    assert found.key() == b"order-uuid"
    assert dict(found.headers())["published-by"] == b"tester"
    state = web.get(f"/api/events/{event_id}").json()["data"]
    assert state["status"] == "PENDING"
    assert state["published"]["offset"] == response.json()["data"]["offset"]
    assert state["published"]["by"] == "tester"
    assert web.get(f"/api/events/processed/{event_id}").json()["data"] == {"eventId": event_id, "processed": False}


@pytest.mark.parametrize(
    "data", [b'{"n":123456789012345678901234567890}', b'{"a":"x\\u0000y"}', b'{"a":-9223372036854775809,"b":0.1}']
)
def test_data_arrives_as_it_was_sent(server: Server, web: httpx.Client, data: bytes) -> None:
    body = b'{"topic":"order.created","data":' + data + b"}"
    response = web.post("/api/events/publish", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200
    assert record(server, response.json()["data"]).value().endswith(b'"data":' + data + b"}")


def test_an_event_id_is_published_once_and_belongs_to_one_topic(server: Server, web: httpx.Client) -> None:
    first = publish(web, eventId="once-1", data={"n": 1})
    again = publish(web, eventId="once-1", data={"n": 2})
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["data"]["duplicate"] is False
    assert again.json()["data"] == {**first.json()["data"], "duplicate": True}
    other = publish(web, eventId="once-1", topic="order.shipped")
    assert other.status_code == 409
    assert "order.created" in other.json()["detail"]


def test_the_same_event_id_sent_at_once_is_published_once(server: Server, web: httpx.Client) -> None:
    with ThreadPoolExecutor(10) as senders:
        answers = list(senders.map(lambda _: publish(web, eventId="race-1"), range(10)))
    fresh = [each for each in answers if each.status_code == 200 and not each.json()["data"]["duplicate"]]
    assert len(fresh) == 1
    for each in answers:
        assert each.status_code == 200 or (each.status_code == 409 and each.headers["retry-after"])


def test_a_batch_is_published_and_a_partly_failed_one_says_which(server: Server, web: httpx.Client) -> None:
    events: list[dict[str, Any]] = [{"data": {"n": n}, "key": f"k{n}", "eventId": f"batch-{n}"} for n in range(3)]
    response = web.post("/api/events/publish-batch", json={"topic": "inventory.updated", "events": events})
    assert response.status_code == 200
    assert response.json()["message"] == "Batch published successfully (3 events)"
    for n, result in enumerate(response.json()["data"]["results"]):
        assert json.loads(record(server, result).value())["data"] == {"n": n}
    mixed = [{"data": {}, "eventId": "batch-0"}, {"data": {}, "eventId": "batch-9"}, {"data": {}, "key": "k" * 2000}]
    response = web.post("/api/events/publish-batch", json={"topic": "inventory.reserved", "events": mixed})
    assert response.status_code == 207
    conflict, fresh, refused = response.json()["data"]["results"]
    assert (conflict["success"], conflict["error"]["status"]) == (False, 409)
    assert (fresh["success"], fresh["eventId"]) == (True, "batch-9")
    assert (refused["success"], refused["error"]["field"]) == (False, "events[2].key")


@pytest.mark.parametrize("topic", ["order.created.dlq", "email-service-group.replay", "no.such.topic"])
def test_topics_outside_the_catalog_are_refused(web: httpx.Client, topic: str) -> None:
    payloads: dict[str, dict[str, Any]] = {"publish": {"data": {}}, "publish-batch": {"events": [{"data": {}}]}}
    for path, rest in payloads.items():
        response = web.post(f"/api/events/{path}", json={"topic": topic, **rest})
        assert (response.status_code, response.json()["field"]) == (422, "topic")


def test_health_says_what_answers(web: httpx.Client) -> None:
    answer = web.get("/api/health").json()
    assert answer["status"] == "ok"
    assert {found["status"] for found in answer["dependencies"].values()} == {"up"}


def test_without_a_broker_the_answer_comes_in_time_and_can_be_sent_again(server: Server, web: httpx.Client) -> None:
    server.kafka.set_broker_down(True)
    try:
        began = time.monotonic()
        with ThreadPoolExecutor(2) as senders:
            unnamed, named = senders.map(lambda body: publish(web, **body), ({}, {"eventId": "down-1"}))
        assert time.monotonic() - began < 10
        for response in (unnamed, named):
            assert response.status_code == 503
            assert response.headers["retry-after"]
        assert len(unnamed.json()["eventId"]) == 36
        assert named.json()["eventId"] == "down-1"
        began = time.monotonic()
        ready = web.get("/api/health/ready")
        assert time.monotonic() - began < 2
        assert (ready.status_code, ready.json()["status"]) == (503, "down")
        assert web.get("/api/health").status_code == 200
    finally:
        server.kafka.set_broker_down(False)
    wait_until(lambda: publish(web, eventId="down-1").status_code == 200, 30, "publishing to go on", pause=0.5)


def test_without_redis_publishing_goes_on_and_health_is_degraded(server: Server, web: httpx.Client) -> None:
    server.redis.pause()
    try:
        for body in ({}, {"eventId": "away-1"}):
            began = time.monotonic()
            assert publish(web, **body).status_code == 200
            assert time.monotonic() - began < 10
        assert web.get("/api/events/away-1").status_code == 503
        health = web.get("/api/health").json()
        assert health["status"] == "degraded"
        assert health["dependencies"]["redis"]["status"] == "down"
        assert web.get("/api/health/ready").status_code == 200
    finally:
        server.redis.resume()
    wait_until(lambda: web.get("/api/health").json()["status"] == "ok", 10, "Redis to be seen again", pause=0.5)


def test_without_the_database_a_known_token_publishes_and_an_unknown_one_is_told_to_come_again(
    server: Server, web: httpx.Client
) -> None:
    assert publish(web).status_code == 200
    elsewhere = server.folder / "elsewhere"
    server.database.parent.rename(elsewhere)
    try:
        # Longer than a token is taken without asking.
        time.sleep(5.5)
        assert publish(web).status_code == 200
        health = web.get("/api/health").json()
        assert (health["status"], health["dependencies"]["database"]["status"]) == ("degraded", "down")
        stranger = web.get("/api/events/x", headers={"Authorization": "Bearer evc_unknown"})
        assert stranger.status_code == 503
    finally:
        elsewhere.rename(server.database.parent)
    assert web.get("/api/events/x", headers={"Authorization": "Bearer evc_unknown"}).status_code == 401
