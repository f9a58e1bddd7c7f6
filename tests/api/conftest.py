"""The API behind its real ASGI application, with tokens and a bus of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import httpx
import pytest

import bus
from bus import catalog
from bus.errors import BusError, UnknownTopicError
from bus.producer import Published, PublishFailure
from eventconsole.api import auth
from eventconsole.api.memory import DatabaseThreads, TokenMemory
from eventconsole.api.tokens import Caller, digest_of
from eventconsole.asgi import application

EVERYTHING = frozenset({"publish", "read", "replay", "admin"})


class FakeBus:
    """Records what is published, and fails as told."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.errors: dict[int, BusError] = {}
        self.duplicates: set[str] = set()
        self.processed: set[str] = set()

    async def apublish(self, topic: str, data: Any, **options: Any) -> Published:
        if self.error is not None:
            raise self.error
        if topic not in catalog.topics():
            raise UnknownTopicError("topic", f"{topic!r} given, allowed are the topics of the catalog")
        self.published.append({"topic": topic, "data": data, **options})
        event_id = options["event_id"]
        return Published(event_id, topic, 1, len(self.published), event_id in self.duplicates)

    async def apublish_batch(
        self, topic: str, events: list[dict[str, Any]], **options: Any
    ) -> list[Published | PublishFailure]:
        if self.error is not None:
            raise self.error
        outcomes: list[Published | PublishFailure] = []
        for index, event in enumerate(events):
            if index in self.errors:
                outcomes.append(PublishFailure(event["event_id"], self.errors[index]))
            else:
                outcomes.append(await self.apublish(topic, **event, **options))
        return outcomes

    async def ais_event_processed(self, event_id: str) -> bool:
        if self.error is not None:
            raise self.error
        return event_id in self.processed


@pytest.fixture
def fake_bus(monkeypatch: pytest.MonkeyPatch) -> FakeBus:
    """A bus without Kafka and Redis."""
    fake = FakeBus()
    for name in ("apublish", "apublish_batch", "ais_event_processed"):
        monkeypatch.setattr(bus, name, getattr(fake, name), raising=False)
    return fake


@pytest.fixture
def callers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Caller]]:
    """Tokens by their text, without the database. `all` may do everything."""
    known = {"all": Caller("tester", EVERYTHING, token_id=1)}
    threads = DatabaseThreads(1)
    memory = TokenMemory(
        threads,
        load=lambda digest: next((caller for token, caller in known.items() if digest_of(token) == digest), None),
        note=lambda token_id, at: None,
    )
    monkeypatch.setattr(auth, "token_memory", lambda: memory)
    yield known
    threads.close()


@pytest.fixture
async def anyone() -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without a token."""
    transport = httpx.ASGITransport(app=cast(Any, application))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


@pytest.fixture
async def api(anyone: httpx.AsyncClient, callers: dict[str, Caller]) -> httpx.AsyncClient:
    """Somebody whose token may do everything."""
    anyone.headers["Authorization"] = "Bearer all"
    return anyone
