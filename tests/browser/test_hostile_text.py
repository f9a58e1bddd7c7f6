"""Whoever publishes decides what payloads, keys, headers and errors say. Pages show it, and nothing of it happens."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import Page

from tests.browser.visitor import overflows
from tests.e2e.quickstarts import Quickstart, wait_until
from tests.kafka.contact import produce

MARKUP = (
    "<script>window.hacked=1</script><img src=x onerror=window.hacked=2></textarea></pre><svg onload=window.hacked=3>"
)
LINK = "javascript:window.hacked=4"
TURNED = "\u202egnirts\u2066"
LONG = "W" * 10_000
HOSTILE = f"{MARKUP} {LINK} {TURNED}"


@pytest.fixture(scope="module")
def letter(console: Quickstart) -> int:
    """A dead letter of a foreign producer, hostile in each of its parts."""
    text = HOSTILE.encode()
    value = json.dumps(
        {
            "metadata": {
                "eventId": MARKUP[:120],
                "eventType": "order.created",
                "timestamp": "2026-11-27T03:00:00.000Z",
                "source": HOSTILE[:200],
                "userId": LINK,
                "correlationId": MARKUP[:100],
            },
            "data": {MARKUP: [MARKUP, LINK, TURNED, LONG], "</script>": {"href": LINK}},
        }
    ).encode()
    produce(
        console.ready["kafka_brokers"],
        "order.created.dlq",
        [value],
        key=text,
        headers=[
            ("dlq-group", MARKUP[:200].encode()),
            ("dlq-reason", b"exhausted"),
            ("dlq-attempts", b"4"),
            ("dlq-error-type", MARKUP[:200].encode()),
            ("dlq-error-message", (HOSTILE + LONG)[:1000].encode()),
            (MARKUP[:100], text),
        ],
    )

    def found() -> int:
        _, answer = console.call("/api/dead-letters?limit=100")
        ids = [each["id"] for each in answer["data"] if (each["group"] or "").startswith("<script>")]
        return int(ids[0]) if ids else 0

    return int(wait_until(found, 30, "the hostile dead letter"))


def look(page: Page, address: str) -> None:
    """Open it, give scripts that got through time to run, and judge."""
    page.goto(address)
    page.wait_for_timeout(700)
    assert page.evaluate("window.hacked") is None, address
    links = page.eval_on_selector_all("a[href], form[action]", "all => all.map(one => one.href || one.action)")
    assert not [link for link in links if str(link).lower().startswith("javascript:")], address
    assert page.locator("main img, main iframe, main object").count() == 0, address


def test_a_hostile_dead_letter_is_text_on_every_page(page: Page, console: Quickstart, letter: int) -> None:
    _, answer = console.call(f"/api/dead-letters/{letter}")
    event_id = answer["data"]["eventId"]
    for address in (
        "/",
        "/dead-letters",
        f"/dead-letters/{letter}",
        f"/events/{_quoted(event_id)}",
        f"/events?q={_quoted(MARKUP)}",
        f"/dead-letters?q={_quoted(MARKUP)}",
        f"/groups?q={_quoted(MARKUP)}",
        f"/topics?q={_quoted(MARKUP)}",
        "/topics/order.created.dlq",
        f"/publish?copy={_quoted(event_id)}",
        f"/audit?who={_quoted(MARKUP)}",
    ):
        look(page, address)
    page.goto(f"/dead-letters/{letter}")
    assert "window.hacked=1" in page.locator("main").inner_text(), "it is shown, as text"


@pytest.mark.parametrize("width", [360, 1280])
def test_long_words_push_nothing_aside(open_browser: Callable[..., Page], letter: int, width: int) -> None:
    page = open_browser(width=width)
    for address in ("/", "/dead-letters", f"/dead-letters/{letter}", "/topics/order.created.dlq"):
        page.goto(address)
        page.wait_for_timeout(500)
        assert overflows(page) == [], address


def test_a_hostile_event_is_text_while_it_happens(page: Page, console: Quickstart) -> None:
    page.goto("/events")
    status, answer = console.call(
        "/api/events/publish",
        {
            "topic": "order.created",
            "key": MARKUP,
            "source": MARKUP[:100],
            "userId": LINK,
            "data": {"orderId": MARKUP, "note": LONG},
        },
    )
    assert status == 201 or status == 200, answer
    page.locator("main tbody tr", has_text="order.created").first.wait_for()
    page.wait_for_timeout(700)
    assert page.evaluate("window.hacked") is None
    look(page, f"/events/{answer['data']['eventId']}")
    assert re.search("order.created", page.locator("main").inner_text())


def _quoted(text: str) -> str:
    return quote(text, safe="")
