"""Whatever is sent, the answer is a 4xx that names what is wrong, and nothing is published."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from bus import conf
from tests.api.conftest import FakeBus

GOOD: dict[str, Any] = {"topic": "order.created", "data": {}}
PAYLOAD: dict[str, Any] = {"publish": {"data": {}}, "publish-batch": {"events": [{"data": {}}]}}


async def refused(api: httpx.AsyncClient, fake_bus: FakeBus, body: Any, path: str = "publish") -> dict[str, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = await api.post(
        f"/api/events/{path}", content=content, headers={"Content-Type": "application/json; charset=utf-8"}
    )
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert problem["status"] == response.status_code
    assert fake_bus.published == []
    return problem


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "body"),
        (b"not json", "not JSON"),
        (b'{"topic":"order.created","data":{}', "not JSON"),
        (b'{"topic":"order.created","data":{"a":NaN}}', "NaN"),
        (b'{"topic":"order.created","data":{"a":-Infinity}}', "-Infinity"),
        (b'{"topic":"order.created","data":{"a":1e400}}', "1e400"),
        (b'{"topic":"order.created","data":{"a":1e-400}}', "1e-400"),
        (b'{"topic":"order.created","data":{"a":0.10000000000000000555}}', "0.10000000000000000555"),
        (b'{"topic":"order.created","data":{"a":' + b"9" * 5000 + b"}}", "4,300 digits"),
        (b'{"topic":"order.created","data":{"a":1,"a":2}}', "twice"),
        (b'{"topic":"order.created","topic":"order.shipped","data":{}}', "twice"),
        (b'{"topic":"order.created","data":{"\\ud800":1,"\\ud800":2}}', "twice"),
        (b'{"topic":"order.created","data":{"a":"\\ud800"}}', "\\ud800"),
        (b'{"topic":"order.created","data":{"\\udfff":1}}', "\\udfff"),
        (b'{"topic":"\\ud800","data":{}}', "\\ud800"),
        (b'{"topic":"order.created","data":{"a":"\xff"}}', "UTF-8"),
        (b'{"topic":"order.created","data":{"a":"\xed\xa0\x80"}}', "UTF-8"),
        (b'\xef\xbb\xbf{"topic":"order.created","data":{}}', "not JSON"),
        (b'{"topic":"order.created","data":{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}}", "nested"),
        (b'{"topic":"order.created","data":{"a":' + b"[" * 300 + b"]" * 300 + b"}}", "nested"),
        (
            b'{"topic":"order.created","data":{"n":' + b"9" * 30 + b',"a":' + b'{"a":' * 300 + b"1" + b"}" * 302,
            "nested",
        ),
        (b'{"topic":"order.created","data":{"a":"line\nbreak"}}', "not JSON"),
    ],
)
@pytest.mark.parametrize("path", ["publish", "publish-batch"])
async def test_bodies_that_can_not_be_read_exactly_are_refused(
    api: httpx.AsyncClient, fake_bus: FakeBus, body: bytes, detail: str, path: str
) -> None:
    problem = await refused(api, fake_bus, body, path)
    assert detail in problem["detail"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"topic": None}, "topic"),
        ({"topic": 5}, "topic"),
        ({"topic": "no.such"}, "topic"),
        ({"data": None}, "data"),
        ({"data": "text"}, "data"),
        ({"data": [1]}, "data"),
        ({"priority": "urgent"}, "priority"),
        ({"priority": 1}, "priority"),
        ({"source": "s" * 201}, "source"),
        ({"source": "a\nb"}, "source"),
        ({"source": "a\r\nx: y"}, "source"),
        ({"source": "a\u2028b"}, "source"),
        ({"source": 7}, "source"),
        ({"correlationId": "c" * 201}, "correlationId"),
        ({"correlationId": "a\x00b"}, "correlationId"),
        ({"userId": "u" * 201}, "userId"),
        ({"userId": {}}, "userId"),
        ({"eventId": ""}, "eventId"),
        ({"eventId": "e" * 129}, "eventId"),
        ({"eventId": "a\nb"}, "eventId"),
        ({"eventId": 12}, "eventId"),
        ({"key": "k" * 1025}, "key"),
        ({"key": "ä" * 513}, "key"),
        ({"key": 12}, "key"),
        ({"version": ""}, "version"),
        ({"version": 1.0}, "version"),
        ({"proirity": "high"}, "proirity"),
        ({"event_id": "x"}, "event_id"),
    ],
)
async def test_wrong_fields_are_named(
    api: httpx.AsyncClient, fake_bus: FakeBus, change: dict[str, Any], field: str
) -> None:
    problem = await refused(api, fake_bus, {**GOOD, **change})
    assert problem["field"] == field
    if field != "topic" and field != "data":
        batch = {"topic": "order.created", "events": [{"data": {}, **change}]}
        problem = await refused(api, fake_bus, batch, "publish-batch")
        assert problem["field"] == f"events[0].{field}"


async def test_fields_just_within_their_limits_are_taken(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    body = {
        **GOOD,
        "source": "ß" * 200,
        "userId": "u" * 200,
        "eventId": "e" * 128,
        "key": "k" * 1024,
        "priority": "low",
    }
    assert (await api.post("/api/events/publish", json=body)).status_code == 200


async def test_nesting_just_within_the_limit_is_taken(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    # The body and data are two levels themselves.
    body = b'{"topic":"order.created","data":{"a":' + b"[" * 252 + b"]" * 252 + b"}}"
    response = await api.post("/api/events/publish", content=body)
    assert response.status_code == 200
    with_a_long_number = body.replace(b'{"a":', b'{"n":' + b"9" * 40 + b',"a":')
    response = await api.post("/api/events/publish", content=with_a_long_number)
    assert response.status_code == 200


@pytest.mark.parametrize("topic", ["order.created.dlq", "email-service-group.replay", "order.create", "", "x" * 1000])
@pytest.mark.parametrize("path", ["publish", "publish-batch"])
async def test_topics_that_nobody_may_publish_on_are_refused(
    api: httpx.AsyncClient, fake_bus: FakeBus, topic: str, path: str
) -> None:
    problem = await refused(api, fake_bus, {"topic": topic, **PAYLOAD[path]}, path)
    assert problem["field"].endswith("topic")


@pytest.mark.parametrize("body", [{}, {"data": {}}, {"topic": "order.created"}, [], "text", 5, None])
async def test_missing_fields_and_other_kinds_of_json_are_refused(
    api: httpx.AsyncClient, fake_bus: FakeBus, body: Any
) -> None:
    await refused(api, fake_bus, body)
    await refused(api, fake_bus, body, "publish-batch")


async def test_an_unknown_field_is_answered_with_those_that_are_allowed(
    api: httpx.AsyncClient, fake_bus: FakeBus
) -> None:
    problem = await refused(api, fake_bus, {**GOOD, "proirity": "high"})
    for name in ("topic", "data", "key", "eventId", "priority", "source", "correlationId", "userId", "version"):
        assert name in problem["detail"]


@pytest.mark.parametrize("events", [[], None, {}, "text", [1], [{}], [None, [], {"data": 5}]])
async def test_empty_and_malformed_batches_are_refused(api: httpx.AsyncClient, fake_bus: FakeBus, events: Any) -> None:
    problem = await refused(api, fake_bus, {"topic": "order.created", "events": events}, "publish-batch")
    assert problem["field"].startswith("events")


async def test_a_batch_over_the_limit_is_refused(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    batch = {"topic": "order.created", "events": [{"data": {}}] * 1001}
    problem = await refused(api, fake_bus, batch, "publish-batch")
    assert problem["field"] == "events"
    assert "1001" in problem["detail"]
    with conf.override(max_batch=2):
        await refused(api, fake_bus, {"topic": "order.created", "events": [{"data": {}}] * 3}, "publish-batch")
    batch["events"] = [{"data": {}}] * 1000
    assert (await api.post("/api/events/publish-batch", json=batch)).status_code == 200


async def test_every_wrong_field_is_told_at_once(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    problem = await refused(api, fake_bus, {"topic": 5, "data": {}, "key": 5})
    assert {error["field"] for error in problem["errors"]} == {"topic", "key"}


async def test_a_body_over_the_limit_is_refused_by_its_announced_length(
    api: httpx.AsyncClient, fake_bus: FakeBus
) -> None:
    problem = await refused(api, fake_bus, {**GOOD, "data": {"a": "x" * 1_000_000}})
    assert problem["status"] == 413


async def test_a_body_over_the_limit_is_refused_while_it_comes_in(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    sent = 0

    async def chunks() -> Any:
        nonlocal sent
        while sent < 50_000_000:
            sent += 100_000
            yield b" " * 100_000

    response = await api.post("/api/events/publish", content=chunks())
    assert response.status_code == 413
    assert sent <= 1_100_000


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_other_content_types_are_refused(api: httpx.AsyncClient, fake_bus: FakeBus, kind: str) -> None:
    response = await api.post("/api/events/publish", content=b"{}", headers={"Content-Type": kind})
    assert response.status_code == 415
    assert "application/json" in response.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/events/publish", 405),
        ("DELETE", "/api/events/some-id", 405),
        ("GET", "/api/nothing/here", 404),
        ("GET", "/api/", 404),
        ("GET", "/api/events/" + "e" * 129, 422),
        ("GET", "/api/events/a%0Ab", 404),
        ("GET", "/api/events/a%00b", 422),
        ("GET", "/api/events/processed/" + "e" * 129, 422),
        ("GET", "/api/%ff", 404),
    ],
)
async def test_wrong_addresses_are_problem_documents_too(
    api: httpx.AsyncClient, fake_bus: FakeBus, method: str, path: str, status: int
) -> None:
    response = await api.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
