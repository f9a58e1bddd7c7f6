"""The browser's end of the socket: what changes is shown, what is under the hand stays, what is lost is said."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from bus import conf
from bus.activity import ActivityLog, Transition
from bus.ledger import Ledger
from tests.api.server import Server
from tests.browser.visitor import Complaints, expect_complaints
from tests.processes import wait_until

Site = Callable[[], Page]


class Shop:
    """The web server, the file that its room shows, and somebody who writes activity."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "shelf.txt"
        self.show("one")
        self.server = Server(
            folder / "server",
            "tests.browser.live_settings",
            LIVE_TEST_FILE=str(self.file),
            DJANGO_SUPERUSER_PASSWORD="secret",
        )
        self.server.manage("createsuperuser", "--noinput", "--username", "ann", "--email", "ann@shop.example")
        settings = conf.current().model_copy(update={"redis_url_given": self.server.redis.url})
        self.log = ActivityLog(Ledger(settings=settings), "worker-1")

    def show(self, text: str) -> None:
        """Let the room show it."""
        written = self.file.with_suffix(".new")
        written.write_text(text)
        written.replace(self.file)

    def happens(self, event_id: str, topic: str = "order.created") -> None:
        """Let an event be handled."""
        self.log.count(topic, "email-service-group", "processed")
        at_ms = int(time.time() * 1000)
        self.log.keep(Transition(at_ms, "processed", event_id, topic, "email-service-group"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("live"))
    yield shop
    shop.log.close()
    shop.server.close()


@pytest.fixture
def site(browser: Browser, shop: Shop) -> Iterator[Site]:
    """Opens the page in a window of its own, logged in, and waits until it is live."""
    shop.show("one")
    contexts: list[tuple[BrowserContext, Complaints]] = []

    def open_one() -> Page:
        context = browser.new_context(base_url=f"http://127.0.0.1:{shop.server.port}")
        context.set_default_timeout(15_000)
        page = context.new_page()
        contexts.append((context, Complaints(page)))
        page.goto("/login?next=/live-test")
        page.fill("[name=username]", "ann")
        page.fill("[name=password]", "secret")
        page.click("button[type=submit]")
        page.wait_for_url("**/live-test")
        becomes(page, "live")
        return page

    yield open_one
    found = []
    for context, complaints in contexts:
        found += complaints.found
        context.close()
    assert not found, "\n".join(found)


def becomes(page: Page, state: str) -> None:
    """Wait for the state that the page shows."""
    expect(page.locator("html")).to_have_attribute("data-live", state, timeout=15_000)


def collect_rows(page: Page) -> Callable[[], list[dict[str, Any]]]:
    """Frames of rows from now on."""
    page.evaluate(
        """window.got = []; document.addEventListener('live:rows',
            event => window.got.push({...event.detail, heard: Date.now()}))"""
    )
    return lambda: list(page.evaluate("window.got"))


def test_what_changes_is_shown_in_every_window(site: Site, shop: Shop) -> None:
    pages = [site(), site()]
    for page in pages:
        expect(page.locator("#number")).to_have_text("books one")
        expect(page.locator("#link")).to_have_text("books one")
        expect(page.locator("[data-live-state]")).to_have_text("live")
        expect(page.locator("[data-as-of]")).to_have_text(re.compile(r"as of \d\d:\d\d:\d\d"))
        expect(page.locator("#live-banner")).to_be_hidden()
    began = time.monotonic()
    shop.show("two")
    for page in pages:
        expect(page.locator("#number")).to_have_text("books two", timeout=3000)
    assert time.monotonic() - began < 3


def test_what_was_unfolded_stays_so(site: Site, shop: Shop) -> None:
    page = site()
    page.locator("#more summary").click()
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(1, 1)
    shop.show("two")
    expect(page.locator("#link")).to_have_text("books two")
    assert page.locator("#more").get_attribute("open") is not None


@pytest.mark.parametrize("hand", ["pointer", "focus", "selection"])
def test_nothing_moves_under_the_hand(site: Site, shop: Shop, hand: str) -> None:
    page = site()
    expect(page.locator("#link")).to_have_text("books one")
    place = page.locator("#link").bounding_box()
    if hand == "pointer":
        page.locator("#link").hover()
    elif hand == "focus":
        page.locator("#link").focus()
    else:
        page.evaluate("getSelection().selectAllChildren(document.getElementById('link'))")
    shop.show("two")
    expect(page.locator("#number")).to_have_text("books two")
    expect(page.locator("button.live-held")).to_have_text("updated – show")
    assert page.locator("#link").bounding_box() == place, "not by the button either"
    shop.show("three")
    expect(page.locator("#number")).to_have_text("books three")
    expect(page.locator("#link")).to_have_text("books one")
    page.locator("button.live-held").dispatch_event("click")
    expect(page.locator("#link")).to_have_text("books three")
    expect(page.locator("button.live-held")).to_have_count(0)


def test_what_waited_is_shown_when_the_hand_is_gone(site: Site, shop: Shop) -> None:
    page = site()
    expect(page.locator("#link")).to_have_text("books one")
    page.locator("#link").hover()
    shop.show("two")
    page.locator("button.live-held").wait_for()
    page.mouse.move(1, 1)
    expect(page.locator("#link")).to_have_text("books two")


def test_a_transition_is_seen_in_another_window_within_a_second(site: Site, shop: Shop) -> None:
    page = site()
    rows = collect_rows(page)
    took = []
    for number in range(10):
        at = time.time()
        shop.happens(f"event-{number}")
        shop.happens("not-wanted", "user.updated")
        page.wait_for_function(
            "id => window.got.some(each => each.rows.some(row => row.eventId === id))", arg=f"event-{number}"
        )
        heard = next(each["heard"] for each in rows() if any(r["eventId"] == f"event-{number}" for r in each["rows"]))
        took.append(heard / 1000 - at)
    assert sorted(took)[-1] < 2, took
    assert sorted(took)[5] < 1, took
    assert not [row for each in rows() for row in each["rows"] if row["topic"] == "user.updated"]


def test_rooms_are_joined_and_left_with_their_elements(site: Site, shop: Shop) -> None:
    page = site()
    sent: list[str] = []
    # The socket is open already, so what is sent is watched from within.
    page.expose_function("sent", lambda text: sent.append(text))
    page.evaluate(
        """() => {
            const send = WebSocket.prototype.send;
            WebSocket.prototype.send = function (text) { window.sent(text); send.call(this, text); };
        }"""
    )
    page.evaluate(
        """const room = document.createElement('div'); room.id = 'more-room'; room.dataset.room = 'shelf';
        room.dataset.roomParams = '{"of": "records"}'; document.getElementById('elsewhere').append(room);
        window.data = []; document.addEventListener('live:data', event => window.data.push(event.detail))"""
    )
    page.wait_for_function("window.data.some(each => each.data.text === 'records one' && each.params.of === 'records')")
    page.evaluate("document.getElementById('more-room').remove()")
    wait_until(lambda: page.evaluate("1") and any('"leave"' in text for text in sent), 5, "the room to be left")
    joins = [text for text in sent if '"join"' in text]
    leaves = [text for text in sent if '"leave"' in text]
    assert (len(joins), len(leaves)) == (1, 1), sent


def test_a_room_that_fails_says_so_until_it_is_well_again(site: Site, shop: Shop) -> None:
    page = site()
    expect(page.locator("#number")).to_have_text("books one")
    shop.show("away")
    becomes(page, "stale")
    expect(page.locator("#live-banner")).to_contain_text("Redis is away")
    expect(page.locator("#number")).to_have_text("books one")
    expect(page.locator("[data-room=shelf]")).to_have_attribute("data-stale", "Redis is away")
    expect(page.locator("[data-as-of]")).to_have_class(re.compile("old"), timeout=10_000)
    shop.show("one")
    becomes(page, "live")
    expect(page.locator("#live-banner")).to_be_hidden()


def test_a_lost_connection_is_said_and_everything_comes_anew_after_a_restart(site: Site, shop: Shop) -> None:
    page = site()
    expect_complaints(page, "WebSocket", "ERR_CONNECTION_REFUSED", "/ws/live", "/profile")
    expect(page.locator("#number")).to_have_text("books one")
    shop.server.process.stop()
    becomes(page, "lost")
    expect(page.locator("#live-banner")).to_contain_text("The connection is gone. What you see is from")
    expect(page.locator("[data-live-state]")).to_have_text("not connected")
    shop.show("after")
    shop.happens("meanwhile")
    rows = collect_rows(page)
    shop.server.start()
    page.locator("[data-action=reconnect]").dispatch_event("click")
    becomes(page, "live")
    expect(page.locator("#number")).to_have_text("books after")
    expect(page.locator("#live-banner")).to_be_hidden()
    page.wait_for_function("window.got.length > 0")
    first = rows()[0]
    assert first["reset"] is True
    assert "meanwhile" in [row["eventId"] for row in first["rows"]]


def test_a_page_whose_login_ended_says_so(site: Site, shop: Shop) -> None:
    page = site()
    shop.server.manage(
        "shell", "-c", "from django.contrib.sessions.models import Session; Session.objects.all().delete()"
    )
    page.evaluate("document.getElementById('elsewhere').dataset.room = 'shelf'")
    page.evaluate("document.getElementById('elsewhere').dataset.roomParams = '{\"of\": \"x\"}'")
    becomes(page, "login")
    expect(page.locator("#live-banner")).to_contain_text("You are logged out")
    page.locator("[data-action=reconnect]").click()
    page.wait_for_url("**/login**")
