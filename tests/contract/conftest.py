from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bus import conf
from bus.conf import BusSettings
from tests.kafka.subject import KafkaUnderTest


@pytest.fixture
def settings(kafka: KafkaUnderTest) -> Callable[..., BusSettings]:
    """Settings that point to the Kafka under test: `settings(publish_timeout=2)`."""

    def make(**values: Any) -> BusSettings:
        return conf.load(BusSettings, kafka_brokers=kafka.bootstrap, **values)

    return make
