"""The API behind its real ASGI application, with tokens and a bus of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import httpx
import pytest
from django.db import connections

import bus
from bus.errors import BusError, InvalidEventError
from bus.ledger import EventStatus
from bus.producer import Published, PublishFailure
from bus.producer.drafts import Drafter, labels_of
from eventconsole.api import auth
from eventconsole.api.memory import DatabaseThreads, TokenMemory
from eventconsole.api.tokens import Caller, digest_of
from eventconsole.asgi import application
from eventconsole.live import rooms
from eventconsole.live.rooms import Room
from eventconsole.models import Scope
from tests import indexed
from tests.api.live_stage import OfParams, Stage

EVERYTHING = frozenset({"publish", "read", "replay", "admin"})


class FakeBus:
    """Checks events as the bus does, records what is published, and fails as told."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.errors: dict[int, BusError] = {}
        self.duplicates: set[str] = set()
        self.processed: set[str] = set()
        self.states: dict[str, EventStatus] = {}

    async def apublish(self, topic: str, data: Any, **options: Any) -> Published:
        if self.error is not None:
            raise self.error
        event_id = self._check(topic, data, options)
        self.published.append({"topic": topic, "data": data, **options})
        return Published(event_id, topic, 1, len(self.published), event_id in self.duplicates)

    def _check(self, topic: str, data: Any, options: dict[str, Any]) -> str:
        drafter = Drafter(
            topic, at_ms=0, published_by=options["published_by"], traceparent=None, max_event_bytes=1_000_000
        )
        labels = labels_of(options)
        return drafter.draft(0, data, options["key"], options["event_id"], str(uuid.uuid4()), labels).event_id

    async def apublish_batch(
        self, topic: str, events: list[dict[str, Any]], **options: Any
    ) -> list[Published | PublishFailure]:
        if self.error is not None:
            raise self.error
        outcomes: list[Published | PublishFailure] = []
        for index, event in enumerate(events):
            if index in self.errors:
                outcomes.append(PublishFailure(event["event_id"], self.errors[index]))
                continue
            try:
                outcomes.append(await self.apublish(topic, **event, **options))
            except InvalidEventError as error:
                outcomes.append(PublishFailure(event["event_id"] or str(uuid.uuid4()), error))
        return outcomes

    async def ais_event_processed(self, event_id: str) -> bool:
        if self.error is not None:
            raise self.error
        return event_id in self.processed

    async def aevent_status(self, event_id: str) -> EventStatus | None:
        if self.error is not None:
            raise self.error
        return self.states.get(event_id)


@pytest.fixture
def fake_bus(monkeypatch: pytest.MonkeyPatch) -> FakeBus:
    """A bus without Kafka and Redis."""
    fake = FakeBus()
    for name in ("apublish", "apublish_batch", "ais_event_processed", "aevent_status"):
        monkeypatch.setattr(bus, name, getattr(fake, name))
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


@pytest.fixture
async def may_ask_the_database(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Tests ask the database between calls; nothing else runs on their event loop meanwhile."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    connections.all()  # made here, so that what the test opens is what is closed here
    yield
    connections.close_all()


@pytest.fixture
def five() -> None:
    """Five dead letters of two topics and two groups, with two kinds of error."""
    indexed.index(
        [
            indexed.record(0, key="ann"),
            indexed.record(1, key="bob"),
            indexed.record(2, "payment.failed", group="shipping"),
            indexed.record(3, "payment.failed", error_type="TimeoutError", error_message="no answer from 10.0.0.1:80"),
            indexed.record(
                4, error_type="TimeoutError", error_message="no answer from 10.0.0.2:80", reason="permanent"
            ),
        ]
    )


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Room]:
    """The live rooms, without those of pages."""
    found: dict[str, Room] = {}
    monkeypatch.setattr(rooms, "_rooms", found)
    return found


@pytest.fixture
async def stage(registry: dict[str, Room]) -> AsyncIterator[Stage]:
    """What is behind sockets, with the room `things`."""
    stage = Stage(registry)
    rooms.add(Room("things", Scope.READ, 0.1, stage.render, OfParams))
    yield stage
    for communicator in stage.communicators:
        await communicator.disconnect(timeout=5)
    stage.hub.close()
