"""POST /api/events/publish and publish-batch: what is answered, and what reaches the bus."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

import bus
from bus import errors
from eventconsole.api import events
from tests.api.conftest import FakeBus

SPECIFICATION = {
    "topic": "order.created",
    "data": {"orderId": "order-uuid", "userId": "user-uuid", "totalAmount": 199.99, "items": []},
    "priority": "high",
    "source": "order-service",
    "correlationId": "req-123456",
    "userId": "user-uuid",
    "key": "order-uuid",
}


async def test_the_specifications_event_is_published_with_everything_it_says(
    api: httpx.AsyncClient, fake_bus: FakeBus
) -> None:
    response = await api.post("/api/events/publish", json=SPECIFICATION)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert (answer["success"], answer["message"]) == (True, "Event published successfully")
    (published,) = fake_bus.published
    event_id = answer["data"]["eventId"]
    assert published == {
        "topic": "order.created",
        "data": SPECIFICATION["data"],
        "priority": "high",
        "source": "order-service",
        "correlation_id": "req-123456",
        "user_id": "user-uuid",
        "key": "order-uuid",
        "event_id": None,
        "version": None,
        "timeout": 8.0,
        "published_by": "tester",
    }
    assert len(event_id) == 36
    assert answer["data"] == {
        "eventId": event_id,
        "topic": "order.created",
        "partition": 1,
        "offset": 1,
        "duplicate": False,
    }


async def test_what_is_left_out_or_null_is_left_to_the_bus(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    body: dict[str, Any] = {"topic": "order.created", "data": {}, "source": None, "key": None, "eventId": None}
    assert (await api.post("/api/events/publish", json=body)).status_code == 200
    given = {name for name, value in fake_bus.published[0].items() if value is not None}
    assert given == {"topic", "data", "timeout", "published_by"}


async def test_an_event_id_of_the_callers_goes_through_and_a_duplicate_is_reported(
    api: httpx.AsyncClient, fake_bus: FakeBus
) -> None:
    fake_bus.duplicates.add("mine-1")
    body = {"topic": "order.created", "data": {}, "eventId": "mine-1"}
    response = await api.post("/api/events/publish", json=body)
    assert response.status_code == 200
    assert response.json()["data"]["eventId"] == "mine-1"
    assert response.json()["data"]["duplicate"] is True


async def test_numbers_over_64_bits_and_nul_arrive_as_they_were_sent(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    body = b'{"topic":"order.created","data":{"big":123456789012345678901234567890,"nul":"a\\u0000b","f":0.1,"e":1e22}}'
    response = await api.post("/api/events/publish", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200
    assert fake_bus.published[0]["data"] == {"big": 123456789012345678901234567890, "nul": "a\0b", "f": 0.1, "e": 1e22}


@pytest.mark.parametrize(
    ("error", "status", "kind", "retry_after"),
    [
        (errors.UnknownTopicError("topic", "'x' given"), 422, "invalid", None),
        (errors.InvalidEventError("data.total", "a number is needed"), 422, "invalid", None),
        (errors.EventTooLargeError("data", "too large"), 413, "too-large", None),
        (errors.EventIdConflictError("e", "a", "b"), 409, "event-id-conflict", None),
        (errors.PublishInFlightError("e"), 409, "publish-in-flight", "2"),
        (errors.PublishUnknownError("e", "no answer"), 503, "publish-unknown", "2"),
        (errors.PublishRefusedError("e", "no"), 503, "publish-refused", "5"),
        (errors.BrokerUnavailableError("Kafka is away"), 503, "broker-unavailable", "5"),
        (errors.LedgerUnavailableError("Redis is away"), 503, "ledger-unavailable", "5"),
    ],
)
async def test_every_error_of_the_bus_is_a_problem_document(
    api: httpx.AsyncClient,
    fake_bus: FakeBus,
    error: errors.BusError,
    status: int,
    kind: str,
    retry_after: str | None,
) -> None:
    fake_bus.error = error
    response = await api.post("/api/events/publish", json={"topic": "order.created", "data": {}, "eventId": "e"})
    problem = response.json()
    assert response.status_code == problem["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:event-console:problem:{kind}"
    assert problem["success"] is False
    assert problem["detail"] == str(error)
    assert response.headers.get("retry-after") == retry_after
    if status == 503:
        assert problem["eventId"] == "e"
    if isinstance(error, errors.InvalidEventError):
        assert problem["field"] == error.field


async def test_a_503_names_the_event_id_that_was_made_up(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    fake_bus.error = errors.BrokerUnavailableError("Kafka is away")
    response = await api.post("/api/events/publish", json={"topic": "order.created", "data": {}})
    assert len(response.json()["eventId"]) == 36


async def test_a_bus_that_never_answers_is_given_up_in_time(
    api: httpx.AsyncClient, fake_bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*args: Any, **options: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(events, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(bus, "apublish", never)
    monkeypatch.setattr(bus, "apublish_batch", never)
    response = await api.post("/api/events/publish", json={"topic": "order.created", "data": {}, "eventId": "e"})
    assert (response.status_code, response.json()["eventId"]) == (503, "e")
    response = await api.post(
        "/api/events/publish-batch", json={"topic": "order.created", "events": [{"data": {}, "eventId": "e"}]}
    )
    assert response.status_code == 503
    assert response.headers["retry-after"] == "2"
    assert response.json()["data"]["results"][0]["eventId"] == "e"


def test_the_time_limits_stay_under_ten_seconds() -> None:
    assert events.BROKER_SECONDS < events.ANSWER_SECONDS < 10


@pytest.mark.expects_errors("request failed, incident")
async def test_what_nobody_foresaw_is_logged_and_answered_without_details(
    api: httpx.AsyncClient, fake_bus: FakeBus
) -> None:
    fake_bus.error = RuntimeError("the password is swordfish")
    response = await api.post("/api/events/publish", json={"topic": "order.created", "data": {}})
    assert response.status_code == 500
    assert "swordfish" not in response.text
    assert response.json()["incident"] in response.json()["detail"]


async def test_the_specifications_batch_is_published(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    body = {
        "topic": "inventory.updated",
        "events": [
            {"data": {"productId": "prod-1", "quantity": 100}, "key": "prod-1"},
            {"data": {"productId": "prod-2", "quantity": 50}, "key": "prod-2"},
        ],
    }
    response = await api.post("/api/events/publish-batch", json=body)
    assert response.status_code == 200
    answer = response.json()
    assert (answer["success"], answer["message"]) == (True, "Batch published successfully (2 events)")
    assert [published["key"] for published in fake_bus.published] == ["prod-1", "prod-2"]
    assert [(r["index"], r["success"], r["offset"]) for r in answer["data"]["results"]] == [(0, True, 1), (1, True, 2)]


async def test_a_partly_failed_batch_says_for_each_event_what_became_of_it(
    api: httpx.AsyncClient, fake_bus: FakeBus
) -> None:
    fake_bus.errors[1] = errors.InvalidEventError("data.total", "a number is needed")
    events = [{"data": {}, "eventId": f"e{index}"} for index in range(3)]
    response = await api.post("/api/events/publish-batch", json={"topic": "order.created", "events": events})
    assert response.status_code == 207
    answer = response.json()
    assert answer["success"] is False
    assert (answer["data"]["published"], answer["data"]["failed"]) == (2, 1)
    assert [(r["eventId"], r["success"]) for r in answer["data"]["results"]] == [
        ("e0", True),
        ("e1", False),
        ("e2", True),
    ]
    assert answer["data"]["results"][1]["error"]["field"] == "events[1].data.total"
    assert answer["data"]["results"][1]["error"]["status"] == 422


async def test_a_wrong_event_of_a_batch_does_not_hold_up_the_others(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    events: list[Any] = [
        {"data": {"n": 0}},
        {"data": "text", "eventId": "e1"},
        7,
        {"data": {"n": 3}, "priority": "urgent"},
    ]
    events += [{"data": {"n": 4}, "proirity": "high"}, {"data": {"n": 5}}]
    response = await api.post("/api/events/publish-batch", json={"topic": "order.created", "events": events})
    assert response.status_code == 207
    assert [published["data"] for published in fake_bus.published] == [{"n": 0}, {"n": 5}]
    results = response.json()["data"]["results"]
    assert [each["success"] for each in results] == [True, False, False, False, False, True]
    fields = [each["error"]["field"] for each in results[1:5]]
    assert fields == ["events[1].data", "events[2]", "events[3].priority", "events[4].proirity"]
    assert results[1]["eventId"] == "e1"
    assert results[5]["offset"] == 2


async def test_a_batch_of_which_nothing_is_published_is_a_problem(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    fake_bus.errors = {0: errors.PublishInFlightError("e0"), 1: errors.PublishUnknownError("e1", "no answer")}
    events = [{"data": {}, "eventId": f"e{index}"} for index in range(2)]
    response = await api.post("/api/events/publish-batch", json={"topic": "order.created", "events": events})
    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert [r["eventId"] for r in response.json()["data"]["results"]] == ["e0", "e1"]


async def test_a_batch_without_a_broker_names_every_event_id(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    fake_bus.error = errors.BrokerUnavailableError("Kafka is away")
    body = {"topic": "order.created", "events": [{"data": {}, "eventId": "e0"}, {"data": {}}]}
    response = await api.post("/api/events/publish-batch", json=body)
    assert response.status_code == 503
    first, second = response.json()["data"]["results"]
    assert first["eventId"] == "e0"
    assert len(second["eventId"]) == 36
