"""Who may call what: tokens, scopes, topics, sessions, and what happens while the database is away."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any, cast

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import CommandError, call_command
from django.db import OperationalError

from bus.errors import ConfigurationError, DatabaseUnavailableError
from eventconsole.api import auth, memory, tokens
from eventconsole.api.memory import DatabaseThreads, TokenMemory
from eventconsole.api.routes import api
from eventconsole.api.tokens import Caller, create_token, digest_of, revoke_tokens
from eventconsole.models import ApiToken, Scope
from tests.api.conftest import FakeBus

PUBLISH = ("POST", "/api/events/publish", {"topic": "order.created", "data": {}})
BATCH = ("POST", "/api/events/publish-batch", {"topic": "order.created", "events": [{"data": {}}]})
PROCESSED = ("GET", "/api/events/processed/some-id", None)
STATE = ("GET", "/api/events/some-id", None)
OPENAPI = ("GET", "/api/openapi.json", None)
CLOSED = [PUBLISH, BATCH, PROCESSED, STATE, OPENAPI]

Call = tuple[str, str, Any]


async def send(client: httpx.AsyncClient, call: Call, **headers: str) -> httpx.Response:
    method, path, body = call
    return await client.request(method, path, json=body, headers=headers)


def test_every_operation_asks_for_a_scope_and_none_that_changes_something_for_reading_alone() -> None:
    for prefix, router in api._routers:
        for path, operations in router.path_operations.items():
            for operation in operations.operations:
                asked = {cast(Any, each).scope for each in operation.auth_callbacks}
                named = f"{operation.methods} {prefix}{path}: {asked}"
                if prefix == "/health" or path == "/openapi.json":
                    assert asked <= {None}, named
                elif operation.methods == ["GET"]:
                    assert asked == {Scope.READ}, named
                else:
                    assert len(asked) == 1, named
                    assert asked < {Scope.PUBLISH, Scope.REPLAY, Scope.ADMIN}, named


@pytest.mark.parametrize("call", CLOSED)
async def test_nothing_answers_without_a_token_or_a_login(anyone: httpx.AsyncClient, call: Call) -> None:
    response = await send(anyone, call)
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("given", ["Bearer wrong", "Bearer", "Bearer ", "Basic dGVzdDp0ZXN0", "all", "Bearer \xff"])
async def test_a_wrong_token_is_refused(
    anyone: httpx.AsyncClient, callers: dict[str, Caller], fake_bus: FakeBus, given: str
) -> None:
    headers = {b"Authorization": given.encode("latin-1")}
    response = await anyone.post("/api/events/publish", json=PUBLISH[2], headers=headers)
    assert response.status_code == 401
    assert fake_bus.published == []


@pytest.mark.parametrize(
    ("call", "scope"), [(PUBLISH, "publish"), (BATCH, "publish"), (PROCESSED, "read"), (STATE, "read")]
)
async def test_a_missing_scope_is_named(
    anyone: httpx.AsyncClient, callers: dict[str, Caller], fake_bus: FakeBus, call: Call, scope: str
) -> None:
    callers["less"] = Caller("less", frozenset({"publish", "read", "replay", "admin"} - {scope}))
    response = await send(anyone, call, Authorization="Bearer less")
    assert response.status_code == 403
    assert response.json()["scope"] == scope
    assert scope in response.json()["detail"]
    assert fake_bus.published == []


async def test_a_token_for_some_topics_publishes_on_these_only(
    anyone: httpx.AsyncClient, callers: dict[str, Caller], fake_bus: FakeBus
) -> None:
    callers["orders"] = Caller("orders", frozenset({"publish"}), ("order.*", "cart.abandoned"))
    for topic, status in [("order.created", 200), ("cart.abandoned", 200), ("cart.updated", 403), ("no.such", 403)]:
        body = {"topic": topic, "data": {}}
        response = await anyone.post("/api/events/publish", json=body, headers={"Authorization": "Bearer orders"})
        assert response.status_code == status, topic
    batch = {"topic": "cart.updated", "events": [{"data": {}}]}
    response = await anyone.post("/api/events/publish-batch", json=batch, headers={"Authorization": "Bearer orders"})
    assert response.status_code == 403
    assert response.json()["field"] == "topic"


# -- tokens -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_of_a_token_only_the_hash_is_kept() -> None:
    token = create_token("orders", ["publish"])
    kept = ApiToken.objects.get()
    assert token.startswith(kept.prefix)
    assert len(token) >= 43 + len(tokens.PREFIX)
    assert kept.digest == digest_of(token)
    assert token not in str(vars(kept))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "scopes", "days"),
    [
        ("a", [], None),
        ("a", ["write"], None),
        ("", ["read"], None),
        ("a\nb", ["read"], None),
        ("a" * 101, ["read"], None),
        ("a", ["read"], 0),
        ("a", ["read"], -1),
        ("a", ["read"], float("nan")),
        ("a", ["read"], 1e9),
    ],
)
def test_tokens_that_can_not_be_are_refused(name: str, scopes: list[str], days: float | None) -> None:
    with pytest.raises(ConfigurationError):
        create_token(name, scopes, expires_days=days)


@pytest.mark.django_db
def test_the_commands_make_list_and_revoke_tokens() -> None:
    def run(*arguments: str) -> str:
        out = StringIO()
        call_command(*arguments, stdout=out)
        return out.getvalue()

    token = run(
        "create_token", "--name", "orders", "--scope", "publish", "--scope", "read", "--topic", "order.*",
        "--expires-days", "7",
    ).strip()  # fmt: skip
    caller = tokens.load_caller(digest_of(token))
    assert caller is not None
    assert (caller.name, set(caller.scopes), caller.topics) == ("orders", {"publish", "read"}, ("order.*",))
    listed = run("list_tokens")
    assert "orders" in listed
    assert token not in listed
    assert "1 revoked" in run("revoke_token", "orders")
    assert tokens.load_caller(digest_of(token)) is None
    with pytest.raises(CommandError):
        run("revoke_token", "orders")
    with pytest.raises(CommandError, match="allowed"):
        run("create_token", "--name", "a\nb", "--scope", "publish")


@pytest.mark.django_db(transaction=True)
async def test_a_token_from_the_database_opens_the_api_until_it_is_revoked(
    anyone: httpx.AsyncClient, fake_bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    threads = DatabaseThreads(1)
    remembered = TokenMemory(threads, monotonic=lambda: clock[0])
    monkeypatch.setattr(auth, "token_memory", lambda: remembered)
    token = await sync_to_async(create_token)("orders", ["publish"])
    anyone.headers["Authorization"] = f"Bearer {token}"
    assert (await send(anyone, PUBLISH)).status_code == 200
    assert fake_bus.published[0]["published_by"] == "orders"
    await sync_to_async(revoke_tokens)("orders")
    clock[0] += memory.FRESH_SECONDS + 0.1
    assert (await send(anyone, PUBLISH)).status_code == 401
    await asyncio.to_thread(threads.close)
    kept = await ApiToken.objects.aget()
    assert kept.last_used_at is not None


class Database:
    """Tokens, and whether they can be asked for."""

    def __init__(self, *callers: tuple[str, Caller]) -> None:
        self.callers = {digest_of(token): caller for token, caller in callers}
        self.is_away = False
        self.asked = 0
        self.noted: list[int] = []

    def load(self, digest: str) -> Caller | None:
        self.asked += 1
        if self.is_away:
            raise OperationalError("the database is away")
        return self.callers.get(digest)

    def note(self, token_id: int, at: datetime) -> None:
        if self.is_away:
            raise OperationalError("the database is away")
        self.noted.append(token_id)


async def test_a_remembered_token_asks_the_database_once_in_a_while_only() -> None:
    clock = [0.0]
    database = Database(("good", Caller("orders", frozenset({"publish"}), token_id=7)))
    threads = DatabaseThreads(1)
    remembered = TokenMemory(threads, load=database.load, note=database.note, monotonic=lambda: clock[0])
    for _ in range(100):
        assert await remembered.caller("good") is not None
    assert database.asked == 1
    clock[0] = memory.FRESH_SECONDS + 1
    await remembered.caller("good")
    assert database.asked == 2
    clock[0] = memory.NOTE_SECONDS + 1
    await remembered.caller("good")
    threads.close()
    assert database.noted == [7, 7], "written at once and again after a minute, not at each use"


async def test_tokens_of_the_last_minute_are_good_while_the_database_is_away() -> None:
    clock = [0.0]
    database = Database(
        ("good", Caller("orders", frozenset({"publish"}), token_id=7)), ("other", Caller("o", frozenset()))
    )
    threads = DatabaseThreads(1)
    remembered = TokenMemory(threads, load=database.load, note=database.note, monotonic=lambda: clock[0])
    assert await remembered.caller("good") is not None
    database.is_away = True
    for clock[0] in (10.0, 30.0, 59.0):
        assert await remembered.caller("good") is not None
        with pytest.raises(DatabaseUnavailableError):
            await remembered.caller("other")
    clock[0] = 65.0
    with pytest.raises(DatabaseUnavailableError):
        await remembered.caller("good")
    database.is_away = False
    assert await remembered.caller("good") is not None
    threads.close()


async def test_a_hanging_database_holds_up_nobody_who_is_remembered() -> None:
    clock = [0.0]
    let_go = threading.Event()
    database = Database(("good", Caller("orders", frozenset({"publish"}))))

    def load(digest: str) -> Caller | None:
        if clock[0] > 0:
            let_go.wait(30)
        return database.load(digest)

    threads = DatabaseThreads(1)
    remembered = TokenMemory(threads, load=load, note=database.note, monotonic=lambda: clock[0], timeout=0.05)
    assert await remembered.caller("good") is not None
    clock[0] = 10.0
    async with asyncio.timeout(1):
        assert await remembered.caller("good") is not None
    let_go.set()
    await asyncio.to_thread(threads.close)


async def test_an_expired_token_is_refused_from_memory_too() -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    expiring = Caller("orders", frozenset({"publish"}), expires_at=now[0] + timedelta(seconds=1))
    database = Database(("good", expiring))
    threads = DatabaseThreads(1)
    remembered = TokenMemory(threads, load=database.load, note=database.note, now=lambda: now[0])
    assert await remembered.caller("good") is not None
    now[0] += timedelta(seconds=1)
    assert await remembered.caller("good") is None
    threads.close()


async def test_an_unknown_token_while_the_database_is_away_is_a_503(
    anyone: httpx.AsyncClient, fake_bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database()
    database.is_away = True
    threads = DatabaseThreads(1)
    remembered = TokenMemory(threads, load=database.load, note=database.note)
    monkeypatch.setattr(auth, "token_memory", lambda: remembered)
    response = await send(anyone, PUBLISH, Authorization="Bearer x")
    assert response.status_code == 503
    assert response.headers["retry-after"]
    threads.close()


# -- sessions -----------------------------------------------------------------------------------------------------


@sync_to_async
def log_in(user: User) -> dict[str, str]:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return {settings.SESSION_COOKIE_NAME: str(session.session_key), "csrftoken": "c" * 32}


@pytest.mark.django_db(transaction=True)
async def test_an_administrators_session_publishes_under_their_name_with_the_csrf_token_only(
    anyone: httpx.AsyncClient, fake_bus: FakeBus
) -> None:
    user = await User.objects.acreate_superuser("ada", password="secret")
    anyone.cookies.update(await log_in(user))
    refused = await send(anyone, PUBLISH)
    assert (refused.status_code, fake_bus.published) == (403, [])
    assert "CSRF" in refused.json()["detail"]
    assert (await send(anyone, PUBLISH, **{"X-CSRFToken": "d" * 32})).status_code == 403
    assert (await send(anyone, PUBLISH, **{"X-CSRFToken": "c" * 32})).status_code == 200
    assert fake_bus.published[0]["published_by"] == "ada"
    # Reading changes nothing, so it needs no CSRF token.
    assert (await send(anyone, PROCESSED)).status_code == 200


@pytest.mark.django_db(transaction=True)
async def test_somebody_else_does_what_their_permissions_allow(anyone: httpx.AsyncClient, fake_bus: FakeBus) -> None:
    user = await User.objects.acreate_user("bob", password="secret")
    permission = await Permission.objects.aget(codename="read", content_type__app_label="eventconsole")
    await user.user_permissions.aadd(permission)
    anyone.cookies.update(await log_in(user))
    assert (await send(anyone, PROCESSED)).status_code == 200
    refused = await send(anyone, PUBLISH, **{"X-CSRFToken": "c" * 32})
    assert (refused.status_code, refused.json()["scope"]) == (403, "publish")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", ["logged out", "inactive", "password changed"])
async def test_a_session_that_ended_opens_nothing(anyone: httpx.AsyncClient, fake_bus: FakeBus, end: str) -> None:
    user = await User.objects.acreate_superuser("ada", password="secret")
    cookies = await log_in(user)
    anyone.cookies.update(cookies)
    assert (await send(anyone, PROCESSED)).status_code == 200
    if end == "logged out":
        await SessionStore(cookies[settings.SESSION_COOKIE_NAME]).adelete()
    elif end == "inactive":
        await User.objects.aupdate(is_active=False)
    else:
        await sync_to_async(user.set_password)("other")
        await user.asave()
    assert (await send(anyone, PROCESSED)).status_code == 401
