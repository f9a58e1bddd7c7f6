"""A running product and a browser in front of it.

`console` is a quickstart without traffic; `page` is a browser window whose person is logged in. A test fails when the
browser reported a violation of the content security policy, a script error, or a failed request of our own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.visitor import Complaints, log_in
from tests.conftest import missing
from tests.e2e.quickstarts import Quickstart

CHROMIUM = os.environ.get("TEST_CHROMIUM", "/usr/bin/chromium")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Retries follow at once: an event that fails is a dead letter within a second.
_QUICK = {"BUS_RETRY_DELAYS": "0.1,0.1,0.1", "QUICKSTART_TRAFFIC": "0", "BUS_ENVIRONMENT_NAME": "tests"}


# Package scope, not session: the library's event loop would be in the way of other packages' asynchronous tests.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium."""
    if not Path(CHROMIUM).exists():
        missing(f"no Chromium at {CHROMIUM}: apt-get install chromium, or say where it is with TEST_CHROMIUM")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quickstart]:
    """The whole product, started once for all browser tests."""
    quickstart = Quickstart(tmp_path_factory.mktemp("browser") / "console", **_QUICK)
    try:
        quickstart.wait_until_ready()
        yield quickstart
    finally:
        quickstart.stop()
        quickstart.kill()


@pytest.fixture
def open_browser(browser: Browser, console: Quickstart) -> Iterator[Callable[..., Page]]:
    """Opens further windows, each with cookies of its own: `open_browser(width=360, theme="dark")`."""
    contexts: list[tuple[BrowserContext, Complaints]] = []

    def open_one(width: int = 1280, theme: str = "light", height: int = 900, *, logged_in: bool = True) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
            base_url=console.ready["url"],
        )
        context.set_default_timeout(15_000)
        page = context.new_page()
        contexts.append((context, Complaints(page)))
        if logged_in:
            log_in(page, console)
        return page

    yield open_one
    found = []
    for context, complaints in contexts:
        found += complaints.found
        context.close()
    assert not found, "\n".join(found)


@pytest.fixture
def page(open_browser: Callable[..., Page]) -> Page:
    """A window of 1,280 px in the light theme, with the administrator logged in."""
    return open_browser()
