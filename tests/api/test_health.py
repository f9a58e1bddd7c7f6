"""Health: always an answer, soon, and details only for those who are known."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from eventconsole.api import probes
from eventconsole.api.probes import Probe
from eventconsole.api.tokens import Caller


def up() -> None:
    """A dependency that answers."""


def down() -> None:
    raise ConnectionError("connection refused\nby the test")


Arrange = Callable[..., None]


@pytest.fixture
def arrange(monkeypatch: pytest.MonkeyPatch) -> Arrange:
    """Sets what Kafka, Redis and the database answer."""

    def arrange(
        kafka: Callable[[], None] = up, redis: Callable[[], None] = up, database: Callable[[], None] = up
    ) -> None:
        found = [
            Probe("kafka", kafka, is_needed=True, timeout=0.2),
            Probe("redis", redis, timeout=0.2),
            Probe("database", database, timeout=0.2),
        ]
        monkeypatch.setattr(probes, "dependencies", lambda: found)

    return arrange


async def test_health_answers_anyone_with_what_the_specification_shows(
    anyone: httpx.AsyncClient, arrange: Arrange
) -> None:
    arrange()
    response = await anyone.get("/api/health")
    assert response.status_code == 200
    answer = response.json()
    assert set(answer) == {"status", "service", "timestamp"}
    assert (answer["status"], answer["service"]) == ("ok", "event-service")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answer["timestamp"])


@pytest.mark.parametrize(
    ("away", "status", "ready"),
    [
        ((), "ok", 200),
        (("redis",), "degraded", 200),
        (("database",), "degraded", 200),
        (("kafka",), "down", 503),
        (("kafka", "redis", "database"), "down", 503),
    ],
)
async def test_health_is_always_200_and_readiness_follows_what_is_needed(
    anyone: httpx.AsyncClient, arrange: Arrange, away: tuple[str, ...], status: str, ready: int
) -> None:
    arrange(**dict.fromkeys(away, down))
    response = await anyone.get("/api/health")
    assert (response.status_code, response.json()["status"]) == (200, status)
    response = await anyone.get("/api/health/ready")
    assert (response.status_code, response.json()["status"]) == (ready, status)
    assert set(response.json()) == {"status", "service", "timestamp"}
    response = await anyone.get("/api/health/live")
    assert (response.status_code, response.json()["status"]) == (200, "ok")


async def test_a_token_sees_each_dependency_with_latency_and_error(api: httpx.AsyncClient, arrange: Arrange) -> None:
    arrange(redis=down)
    for path in ("/api/health", "/api/health/ready"):
        details = (await api.get(path)).json()["dependencies"]
        assert set(details) == {"kafka", "redis", "database"}
        assert details["kafka"]["status"] == "up"
        assert details["kafka"]["latencyMs"] >= 0
        assert details["kafka"]["error"] is None
        assert details["redis"] == {
            "status": "down",
            "needed": False,
            "latencyMs": None,
            "error": "connection refused by the test",
        }


@pytest.mark.parametrize("path", ["/api/health", "/api/health/live", "/api/health/ready"])
async def test_a_wrong_token_gets_the_bare_status(
    anyone: httpx.AsyncClient, callers: dict[str, Caller], arrange: Arrange, path: str
) -> None:
    arrange(redis=down)
    response = await anyone.get(path, headers={"Authorization": "Bearer wrong"})
    assert response.status_code == 200
    assert set(response.json()) == {"status", "service", "timestamp"}


async def test_health_takes_head_too(anyone: httpx.AsyncClient, arrange: Arrange) -> None:
    arrange()
    response = await anyone.head("/api/health/ready")
    assert (response.status_code, response.content) == (200, b"")


async def test_a_hanging_dependency_costs_one_thread_and_no_answer_is_late(
    api: httpx.AsyncClient, arrange: Arrange
) -> None:
    let_go = threading.Event()
    asked = 0

    def hang() -> None:
        nonlocal asked
        asked += 1
        let_go.wait(30)

    arrange(kafka=hang)
    began = time.monotonic()
    answers = await asyncio.gather(*(api.get("/api/health") for _ in range(20)))
    assert time.monotonic() - began < 2
    began = time.monotonic()
    answers += [await api.get("/api/health")]
    assert time.monotonic() - began < 0.15, "an old question that still hangs isn't waited for again"
    assert {answer.json()["status"] for answer in answers} == {"down"}
    assert "no answer for" in answers[-1].json()["dependencies"]["kafka"]["error"]
    assert asked == 1
    let_go.set()


async def test_a_dependency_that_comes_back_is_seen_and_asked_at_most_once_a_second() -> None:
    clock = [0.0]
    answers = [down, up]
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        answers[asked - 1]()

    probe = Probe("kafka", check, monotonic=lambda: clock[0])
    assert not (await probe.find()).is_up
    clock[0] = 0.9
    assert not (await probe.find()).is_up
    assert asked == 1
    clock[0] = 1.1
    assert (await probe.find()).is_up


@pytest.mark.expects_errors("bus.kafka: FAIL")
@pytest.mark.django_db(transaction=True)
async def test_the_real_probes_say_within_two_seconds_that_nobody_listens(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Probes of this test's own: their Kafka client must not go on complaining during others.
    found = probes.find_dependencies()
    monkeypatch.setattr(probes, "dependencies", lambda: found)
    began = time.monotonic()
    response = await api.get("/api/health")
    assert time.monotonic() - began < 2
    details = response.json()["dependencies"]
    assert response.json()["status"] == "down"
    assert {name: found["status"] for name, found in details.items()} == {
        "kafka": "down",
        "redis": "down",
        "database": "up",
    }
