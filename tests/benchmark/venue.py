"""Where the benchmarks run: KAFKA_BROKERS and REDIS_URL, or else a real Kafka of the tests and the embedded Redis."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bus.embedded.redis import EmbeddedRedis
from tests.kafka.broker import real_kafka


@contextmanager
def services() -> Iterator[tuple[str, str]]:
    """Addresses of Kafka and Redis."""
    with ExitStack() as cleanup:
        brokers, redis_url = os.environ.get("KAFKA_BROKERS"), os.environ.get("REDIS_URL")
        if not brokers:
            folder = cleanup.enter_context(tempfile.TemporaryDirectory())
            kafka = real_kafka(Path(folder))
            cleanup.callback(kafka.close)
            brokers = kafka.bootstrap
        if not redis_url:
            redis_url = cleanup.enter_context(EmbeddedRedis()).url
        yield brokers, redis_url
