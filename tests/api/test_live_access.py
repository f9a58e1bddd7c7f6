"""Who may open a socket and see a room, and what happens when that ends meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from pydantic import BaseModel, ConfigDict

from eventconsole.api.tokens import Caller
from eventconsole.asgi import application
from eventconsole.live import rooms
from eventconsole.live.hub import current_hub
from eventconsole.live.rooms import Content, Room
from eventconsole.models import Scope
from tests.api.live_stage import READER, Page, Stage

# -- who may open one ---------------------------------------------------------------------------------------------


async def test_nobody_without_a_login_opens_a_socket(stage: Stage) -> None:
    for who in (None, "somebody-else"):
        assert await stage.socket(who).connect(timeout=5) == (False, 4401)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://evil.example",
        "http://testserver.evil.example",
        "http://testserver:8000",
        "https://testserver:80",
        "http://testserver/path",
        "http://user@testserver",
        "file://testserver",
        "testserver",
        "http://[::1",
    ],
)
async def test_a_page_of_somebody_else_opens_no_socket_with_a_persons_cookies(stage: Stage, origin: str) -> None:
    assert await stage.socket(origin=origin).connect(timeout=5) == (False, 4403)


async def test_a_host_that_is_not_ours_is_refused_though_the_origin_says_the_same(stage: Stage) -> None:
    evil = stage.socket(origin="http://evil.example", headers={"host": "evil.example"})
    assert await evil.connect(timeout=5) == (False, 4403)


async def test_an_origin_that_is_trusted_for_forms_is_good(stage: Stage, settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://console.example"]
    assert (await stage.socket(origin="https://console.example").connect(timeout=5))[0]


async def test_a_page_over_http_opens_no_socket_over_https(stage: Stage, settings: Any) -> None:
    forwarded = {"x-forwarded-proto": "https"}
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    plain = stage.socket(origin="http://testserver", headers=forwarded)
    assert await plain.connect(timeout=5) == (False, 4403)
    assert (await stage.socket(origin="https://testserver", headers=forwarded).connect(timeout=5))[0]


async def test_while_the_database_is_away_nobody_comes_in(stage: Stage) -> None:
    stage.database_is_away = True
    assert await stage.socket().connect(timeout=5) == (False, 1013)


# -- the rooms of the product -------------------------------------------------------------------------------------

# Known when the application was imported, and with it all pages.
ROOMS = rooms.names()
REAL = {name: room for name in ROOMS if (room := rooms.find(name))}


def shown(*arguments: Any) -> Content:
    """Instead of what the room shows, which needs more than a socket."""
    return Content('<p id="shown">x</p>')


class AnyParams(BaseModel):
    model_config = ConfigDict(extra="allow")


@pytest.fixture
def real_rooms(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = {name: replace(room, render=shown, params=AnyParams) for name, room in REAL.items()}
    monkeypatch.setattr(rooms, "_rooms", replaced)


@pytest.mark.parametrize("room", ROOMS)
async def test_every_room_is_shown_to_those_with_its_scope_and_to_nobody_else(
    real_rooms: None, stage: Stage, room: str
) -> None:
    found = rooms.find(room)
    scope = found.scope if found else Scope.READ
    stage.people = {
        "one": Caller("one", frozenset({scope.value})),
        "rest": Caller("rest", frozenset(set(Scope) - {scope})),
    }
    assert await stage.socket(None).connect(timeout=5) == (False, 4401)
    rest = await stage.open("rest")
    await rest.say(type="join", id=1, room=room)
    refused = await rest.hear_until(lambda frame: frame.get("id") == 1)
    assert (refused["type"], refused["scope"]) == ("refused", scope.value)
    one = await stage.open("one")
    await one.say(type="join", id=1, room=room)
    assert (await one.hear_until(lambda frame: frame.get("id") == 1))["type"] in ("fragment", "rows")


# -- permissions --------------------------------------------------------------------------------------------------


async def test_each_join_reads_the_permissions_anew(stage: Stage) -> None:
    page = await stage.open()
    await page.say(type="join", id=1, room="things")
    await page.hear_a("fragment")
    stage.people["ann"] = Caller("ann", frozenset())
    await page.say(type="join", id=2, room="things")
    forbidden = [await page.hear_a("refused") for _ in range(2)]
    assert {frame["id"] for frame in forbidden} == {1, 2}, "the room from before is closed as well"
    assert len(stage.hub.renderings) == 0


async def test_a_permission_that_is_taken_away_closes_the_room(stage: Stage) -> None:
    page = await stage.open(recheck=0.05)
    await page.say(type="join", id=1, room="things")
    await page.hear_a("fragment")
    stage.people["ann"] = Caller("ann", frozenset({"publish"}))
    assert (await page.hear_a("refused"))["code"] == "forbidden"
    stage.text = "secret"
    rest = [await page.hear() for _ in range(5)]
    assert {frame["type"] for frame in rest} == {"clock"}


async def test_a_room_that_shows_what_one_may_do_follows_the_permissions(stage: Stage) -> None:
    def render(params: Any, scopes: frozenset[str]) -> Content:
        return Content(f'<p id="a">{" ".join(sorted(scopes))}</p>')

    rooms.add(Room("acts", Scope.READ, 1.0, render, by_scopes=True))
    page = await stage.open(recheck=0.05)
    await page.say(type="join", id=1, room="acts")
    assert "read<" in (await page.hear_a("fragment"))["html"]
    stage.people["ann"] = Caller("ann", frozenset({"read", "replay"}))
    assert "read replay<" in (await page.hear_a("fragment"))["html"]
    stage.people["ann"] = READER
    assert ">read<" in (await page.hear_a("fragment"))["html"]


async def test_a_login_that_ends_closes_the_socket(stage: Stage) -> None:
    page = await stage.open(recheck=0.05)
    del stage.people["ann"]
    assert await page.closed() == 4401


async def test_joins_while_the_database_is_away_are_refused_and_come_later(stage: Stage) -> None:
    page = await stage.open()
    stage.database_is_away = True
    await page.say(type="join", id=1, room="things")
    assert (await page.hear_a("refused"))["code"] == "unavailable"
    stage.database_is_away = False
    await page.say(type="join", id=1, room="things")
    await page.hear_a("fragment")


# -- with Django's own sessions -----------------------------------------------------------------------------------


def plain_socket(session_key: str) -> WebsocketCommunicator:
    cookie = f"{settings.SESSION_COOKIE_NAME}={session_key}".encode()
    headers = [(b"host", b"testserver"), (b"origin", b"http://testserver"), (b"cookie", cookie)]
    return WebsocketCommunicator(application, "/ws/live", headers=headers)


@sync_to_async
def log_in(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


@pytest.mark.django_db(transaction=True)
async def test_people_and_their_permissions_come_from_the_database(registry: dict[str, Room]) -> None:
    rooms.add(Room("things", Scope.READ, 1.0, lambda params: Content(html="<p id='a'>x</p>")))
    user = await User.objects.acreate_user("ann", password="secret")
    key = await log_in(user)
    page = Page(plain_socket(key))
    assert (await page.communicator.connect(timeout=5))[0]
    await page.say(type="join", id=1, room="things")
    assert (await page.hear_a("refused"))["scope"] == "read"
    permission = await Permission.objects.aget(codename="read", content_type__app_label="eventconsole")
    await user.user_permissions.aadd(permission)
    await page.say(type="join", id=2, room="things")
    assert (await page.hear_a("fragment"))["id"] == 2
    await User.objects.aupdate(is_active=False)
    await page.say(type="join", id=3, room="things")
    assert await page.closed() == 4401
    await page.communicator.disconnect(timeout=5)
    assert await plain_socket(key).connect(timeout=5) == (False, 4401)
    current_hub().close()


async def test_other_addresses_have_no_socket() -> None:
    other = WebsocketCommunicator(application, "/ws/other", headers=[(b"origin", b"http://testserver")])
    assert await other.connect(timeout=5) == (False, 4404)
