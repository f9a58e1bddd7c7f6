"""GET /api/events/{eventId} and processed/{eventId}."""

from __future__ import annotations

import httpx
import pytest

from bus.errors import LedgerUnavailableError
from bus.handlers import Handler, Registry
from bus.ledger import Attempt, EventStatus, GroupStatus, PublishRecord, Status
from eventconsole.api import states
from eventconsole.api.tokens import Caller
from tests.api.conftest import FakeBus

AT = 1_705_314_600_000
PUBLISHED = PublishRecord("order.created", 3, 1842, AT, "orders")


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Two groups handle order.created."""
    registry = Registry()
    for group in ("email-service-group", "analytics-service-group"):
        registry.add(Handler(group, ("order.created",), lambda data, metadata: None))
    monkeypatch.setattr(states, "registry", registry)
    return registry


def in_group(
    group: str, status: Status, attempts: tuple[Attempt, ...] = (), retry_at: int | None = None
) -> GroupStatus:
    return GroupStatus(group, status, "order.created", 0, attempts, retry_at, None)


async def test_an_event_shows_where_it_went_and_every_attempt(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    attempts = (Attempt(AT + 100, 1500, "worker-1", "ValueError: no address"),)
    retrying = in_group("email-service-group", Status.RETRYING, attempts, AT + 5000)
    fake_bus.states["e-1"] = EventStatus("e-1", PUBLISHED, (retrying,))
    response = await api.get("/api/events/e-1")
    assert response.status_code == 200
    assert response.json() == {
        "success": True,
        "data": {
            "eventId": "e-1",
            "status": "RETRYING",
            "published": {
                "topic": "order.created",
                "partition": 3,
                "offset": 1842,
                "at": "2024-01-15T10:30:00.000Z",
                "by": "orders",
            },
            "groups": [
                {"group": "analytics-service-group", "status": "PENDING", "attempts": [], "nextRetryAt": None},
                {
                    "group": "email-service-group",
                    "status": "RETRYING",
                    "attempts": [
                        {
                            "at": "2024-01-15T10:30:00.100Z",
                            "worker": "worker-1",
                            "duration": 1.5,
                            "error": "ValueError: no address",
                        }
                    ],
                    "nextRetryAt": "2024-01-15T10:30:05.000Z",
                },
            ],
        },
    }


@pytest.mark.parametrize(
    ("statuses", "overall"),
    [
        ((), "PENDING"),
        ((Status.PROCESSED,), "PENDING"),
        ((Status.PROCESSED, Status.PROCESSING), "PROCESSING"),
        ((Status.PROCESSED, Status.RETRYING), "RETRYING"),
        ((Status.PROCESSED, Status.FAILED), "FAILED"),
        ((Status.PROCESSED, Status.PROCESSED), "PROCESSED"),
    ],
)
async def test_the_status_of_an_event_is_that_of_its_least_settled_group(
    api: httpx.AsyncClient, fake_bus: FakeBus, statuses: tuple[Status, ...], overall: str
) -> None:
    names = ("email-service-group", "analytics-service-group")
    groups = tuple(in_group(name, status) for name, status in zip(names, statuses, strict=False))
    fake_bus.states["e-1"] = EventStatus("e-1", PUBLISHED, groups)
    assert (await api.get("/api/events/e-1")).json()["data"]["status"] == overall


async def test_a_publish_record_that_expired_is_null(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    fake_bus.states["e-1"] = EventStatus("e-1", None, (in_group("email-service-group", Status.FAILED),))
    data = (await api.get("/api/events/e-1")).json()["data"]
    assert (data["published"], data["status"]) == (None, "FAILED")


async def test_an_unknown_event_is_a_404(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    response = await api.get("/api/events/nobody-knows")
    assert response.status_code == 404
    assert "nobody-knows" in response.json()["detail"]


async def test_event_ids_may_hold_slashes_blanks_and_letters_of_any_language(
    api: httpx.AsyncClient, fake_bus: FakeBus
) -> None:
    for event_id, path in [
        ("a/b c", "a%2Fb%20c"),
        ("bestellung-ä", "bestellung-%C3%A4"),
        ("a?b#c%41", "a%3Fb%23c%2541"),
    ]:
        fake_bus.states = {event_id: EventStatus(event_id, PUBLISHED, ())}
        response = await api.get(f"/api/events/{path}")
        assert (response.status_code, response.json()["data"]["eventId"]) == (200, event_id)


async def test_processed_answers_as_the_specification_shows(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    fake_bus.processed.add("e-1")
    for event_id, processed in [("e-1", True), ("e-2", False)]:
        response = await api.get(f"/api/events/processed/{event_id}")
        assert response.status_code == 200
        assert response.json() == {"success": True, "data": {"eventId": event_id, "processed": processed}}


async def test_a_token_for_some_topics_sees_nothing_of_others(
    anyone: httpx.AsyncClient, callers: dict[str, Caller], fake_bus: FakeBus
) -> None:
    callers["carts"] = Caller("carts", frozenset({"read"}), ("cart.*",))
    callers["orders"] = Caller("orders", frozenset({"read"}), ("order.*",))
    fake_bus.states["e-1"] = EventStatus("e-1", PUBLISHED, ())
    fake_bus.processed.add("e-1")
    for token, status, processed in [("carts", 404, False), ("orders", 200, True)]:
        headers = {"Authorization": f"Bearer {token}"}
        assert (await anyone.get("/api/events/e-1", headers=headers)).status_code == status
        response = await anyone.get("/api/events/processed/e-1", headers=headers)
        assert response.json()["data"]["processed"] is processed


async def test_without_redis_nobody_can_say_and_the_answer_says_so(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    fake_bus.error = LedgerUnavailableError("Redis is away")
    for path in ("/api/events/e-1", "/api/events/processed/e-1"):
        response = await api.get(path)
        assert response.status_code == 503
        assert response.headers["retry-after"]
