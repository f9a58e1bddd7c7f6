from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.kafka.subject import KafkaUnderTest
from tests.scenario.stage import Stage
from tests.scenario.topics import Commits, Writer
from tests.shop.fixtures import Shop
from tests.worker.process import Worker

# Shorter still than the shop's own: a scenario waits for several of these in a row.
QUICK = {"BUS_RETRY_DELAYS": "0.1,0.1,0.1", "BUS_HEARTBEAT_INTERVAL": "0.3", "BUS_COMMIT_INTERVAL": "0.1"}


@pytest.fixture
def open_stage(
    kafka: KafkaUnderTest, open_shop: Callable[..., Shop], start_worker: Callable[..., Worker]
) -> Iterator[Callable[..., Stage]]:
    """Opens a shop to play a scenario in; the arguments are those of `open_shop`."""
    writer, commits = Writer(kafka.bootstrap), Commits(kafka.bootstrap)

    def open_it(settings: Mapping[str, str] | None = None, **options: Any) -> Stage:
        shop = open_shop(settings={**QUICK, **(settings or {})}, **options)
        return Stage(kafka, shop, writer, commits, start_worker)

    yield open_it
    commits.close()
