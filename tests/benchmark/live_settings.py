"""The product with rooms of the benchmark's own."""

from __future__ import annotations

from eventconsole.settings import *  # noqa: F403

ROOT_URLCONF = "tests.benchmark.live_pages"
