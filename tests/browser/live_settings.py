"""The product with a page of the tests' own."""

from __future__ import annotations

from eventconsole.settings import *  # noqa: F403

ROOT_URLCONF = "tests.browser.live_pages"
