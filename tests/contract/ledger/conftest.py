from __future__ import annotations

from collections.abc import Iterator

import pytest

from bus.ledger import Ledger
from tests.contract.ledger.workers import MakeWorker, Worker, ledger_at
from tests.redis_server import RedisAddress


@pytest.fixture
def ledger(any_redis: RedisAddress) -> Iterator[Ledger]:
    """A ledger on an empty Redis of each kind in turn."""
    ledger = ledger_at(any_redis)
    yield ledger
    ledger.client.close()


@pytest.fixture
def worker(ledger: Ledger) -> MakeWorker:
    """Makes workers of the ledger."""
    return lambda name: Worker(ledger, name)
