from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis.cluster import RedisCluster

from bus.ledger import Ledger
from tests.contract.ledger.workers import MakeWorker, Worker, ledger_at
from tests.redis_server import RedisAddress


@pytest.fixture
def ledger(any_redis: RedisAddress) -> Iterator[Ledger]:
    """A ledger on an empty Redis of each kind in turn."""
    ledger = ledger_at(any_redis)
    yield ledger
    close(ledger)


def close(ledger: Ledger) -> None:
    """Close the client's connections, also those that redis-py's cluster client has lent and forgotten."""
    if isinstance(ledger.client, RedisCluster):
        for node in ledger.client.get_nodes():  # type: ignore[no-untyped-call]
            if node.redis_connection is not None:
                node.redis_connection.connection_pool.disconnect()
    ledger.client.close()


@pytest.fixture
def worker(ledger: Ledger) -> MakeWorker:
    """Makes workers of the ledger."""
    return lambda name: Worker(ledger, name)
