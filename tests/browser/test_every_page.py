"""Every page, in both themes and at three widths: it opens, fits, and axe has nothing grave against it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.visitor import dead_letters, grave_findings, overflows
from tests.e2e.quickstarts import Quickstart

WIDEST = 1920
PAGES = (
    "/",
    "/events",
    "/events/{event}",
    "/publish",
    "/groups",
    "/groups/notification-service-group",
    "/groups/notification-service-group/offsets",
    "/dead-letters",
    "/dead-letters/{letter}",
    "/replays",
    "/topics",
    "/topics/order.created",
    "/workers",
    "/audit",
    "/profile",
)


@pytest.fixture(scope="module")
def addresses(console: Quickstart) -> list[str]:
    letter = dead_letters(console, 3)[-1]
    _, answer = console.call(f"/api/dead-letters/{letter}")
    return [page.format(event=answer["data"]["eventId"], letter=letter) for page in PAGES]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, WIDEST])
@pytest.mark.timeout(300)
def test_every_page_fits_and_has_no_grave_finding(
    open_browser: Callable[..., Page], addresses: list[str], width: int, theme: str
) -> None:
    page = open_browser(width=width, theme=theme)
    problems = []
    for address in addresses:
        response = page.goto(address)
        assert response is not None
        assert response.status == 200, address
        page.wait_for_timeout(300)
        problems += [f"{address} is too wide: {what}" for what in overflows(page)]
        if width != WIDEST:  # which is laid out as the one before: axe takes a second of each page
            problems += [f"{address}: {finding}" for finding in grave_findings(page)]
    assert not problems, "\n".join(problems)


def test_nobody_sees_a_page_without_a_login(open_browser: Callable[..., Page], addresses: list[str]) -> None:
    page = open_browser(logged_in=False)
    for address in addresses:
        page.goto(address)
        assert "/login" in page.url, address


def test_the_theme_is_kept(page: Page) -> None:
    page.goto("/profile")
    page.keyboard.press("t")
    assert page.locator("html").get_attribute("data-theme") == "light"
    page.keyboard.press("t")
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_keys_lead_to_pages(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/dead-letters")
    page.keyboard.press("?")
    assert page.locator("dialog#keys").is_visible()
