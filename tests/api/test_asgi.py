"""The way of a request through the ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from django.utils.module_loading import import_string

from eventconsole import asgi, settings
from eventconsole.api.tokens import Caller
from tests.api.conftest import FakeBus

EVENT = {"topic": "order.created", "data": {}}


@pytest.fixture
def page_middleware(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the page middleware that a request went through."""
    used: list[str] = []

    def watched(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, request: Any) -> Any:
            used.append(name)
            return original(self, request)

        return call

    for path in settings.MIDDLEWARE:
        middleware = import_string(path)
        monkeypatch.setattr(middleware, "__call__", watched(path, middleware.__call__))
    return used


@pytest.mark.django_db(transaction=True)
async def test_the_api_does_not_run_the_page_middleware_and_pages_do(
    api: httpx.AsyncClient, fake_bus: FakeBus, page_middleware: list[str]
) -> None:
    assert (await api.post("/api/events/publish", json=EVENT)).status_code == 200
    assert (await api.get("/api/nothing")).status_code == 404
    assert page_middleware == []
    await api.get("/login")
    assert page_middleware == settings.MIDDLEWARE


async def test_a_call_changes_threads_nowhere(
    api: httpx.AsyncClient, fake_bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.post("/api/events/publish", json=EVENT)  # remembers the token

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor.submit", refuse)
    monkeypatch.setattr("threading.Thread.start", refuse)
    assert (await api.post("/api/events/publish", json=EVENT)).status_code == 200


async def test_every_answer_of_the_api_forbids_caching_and_sniffing(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    for response in [await api.post("/api/events/publish", json=EVENT), await api.get("/api/nothing")]:
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_cors_lets_in_the_origins_of_the_settings_only(api: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    for origin, allowed in [("http://localhost:3000", "http://localhost:3000"), ("http://evil.example", None)]:
        response = await api.post("/api/events/publish", json=EVENT, headers={"Origin": origin})
        assert response.headers.get("access-control-allow-origin") == allowed
        preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        response = await api.options("/api/events/publish", headers=preflight)
        assert response.status_code == 200
        assert response.headers.get("access-control-allow-origin") == allowed


async def test_a_socket_is_refused(anyone: httpx.AsyncClient) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await asgi.application({"type": "websocket", "path": "/ws/", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_client_that_goes_away_while_sending_is_left_alone() -> None:
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/events/publish", "headers": [], "query_string": b""}
    await asgi.application(scope, receive, send)
    assert sent == []


async def test_the_api_also_works_behind_the_page_middleware(
    async_client: AsyncClient, callers: dict[str, Caller], fake_bus: FakeBus
) -> None:
    response = await async_client.post(
        "/api/events/publish", data=EVENT, content_type="application/json", headers={"Authorization": "Bearer all"}
    )
    assert response.status_code == 200
    response = await async_client.post("/api/events/publish", data=EVENT, content_type="application/json")
    assert response.status_code == 401
    large = {**EVENT, "data": {"a": "x" * 1_000_000}}
    response = await async_client.post(
        "/api/events/publish", data=large, content_type="application/json", headers={"Authorization": "Bearer all"}
    )
    assert response.status_code == 413


# -- pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/api/docs", "/admin/", "/nothing"])
@pytest.mark.django_db
def test_pages_ask_for_a_login(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert "login" in response["Location"]


def test_a_page_that_is_not_there_is_told_to_those_who_are_logged_in(admin_client: Client) -> None:
    response = admin_client.get("/nothing")
    assert response.status_code == 404
    assert "There is nothing at /nothing" in response.content.decode()


@pytest.mark.django_db(transaction=True)
async def test_the_documentation_needs_nothing_from_elsewhere(
    anyone: httpx.AsyncClient, async_client: AsyncClient
) -> None:
    assert (await anyone.get("/api/docs")).status_code == 302
    user = await User.objects.acreate_superuser("ada", password="secret")
    await async_client.aforce_login(user)
    page = (await async_client.get("/api/docs")).content.decode()
    assert "/static/ninja/swagger-ui-bundle.js" in page
    assert "/api/openapi.json" in page
    assert "//" not in page.replace("http://www.w3.org", "")


async def test_static_files_are_served_to_anyone_and_cached(anyone: httpx.AsyncClient) -> None:
    response = await anyone.get("/static/ninja/swagger-ui.css")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/css")
    assert len(response.content) == int(response.headers["content-length"]) > 100_000
    again = {"If-Modified-Since": response.headers["last-modified"]}
    assert (await anyone.get("/static/ninja/swagger-ui.css", headers=again)).status_code == 304
    head = await anyone.head("/static/css/login.css")
    assert (head.status_code, head.content) == (200, b"")
    assert (await anyone.get("/static/no-such.css")).status_code == 404
    for path in ("/static/../manage.py", "/static/%2e%2e/manage.py"):
        escaped = await anyone.get(path)
        # Whoever looks past the folder is asked for a login, as for any page that isn't there.
        assert escaped.status_code in (302, 404), path
        assert b"execute_from_command_line" not in escaped.content


async def test_the_openapi_document_describes_every_operation(api: httpx.AsyncClient) -> None:
    document = (await api.get("/api/openapi.json")).json()
    assert set(document["paths"]) >= {
        "/api/dead-letters",
        "/api/dead-letters/{letter_id}",
        "/api/dead-letters/{letter_id}/keep",
        "/api/dead-letters/{letter_id}/payload",
        "/api/dead-letters/discard",
        "/api/dead-letters/restore",
        "/api/dead-letter-groups",
        "/api/dead-letter-groups/{fingerprint}",
        "/api/dead-letter-groups/{fingerprint}/note",
        "/api/dead-letter-index",
        "/api/events/publish",
        "/api/events/publish-batch",
        "/api/events/processed/{event_id}",
        "/api/events/{event_id}",
        "/api/health",
        "/api/health/live",
        "/api/health/ready",
    }
    body = document["components"]["schemas"]["PublishRequest"]
    assert {"topic", "data", "correlationId", "eventId"} <= set(body["properties"])
    assert document["components"]["securitySchemes"]
    published = document["components"]["schemas"]["PublishedEvent"]
    assert "eventId" in published["properties"]
