"""`manage.py serve`, as `make prod` starts it, and the quickstart on services that are named."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.embedded.kafka import EmbeddedKafka
from bus.embedded.redis import EmbeddedRedis
from tests.e2e.quickstarts import ROOT, Quickstart, command_of, descendants, environment_of, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def named(embedded_kafka: EmbeddedKafka, embedded_redis: EmbeddedRedis) -> dict[str, str]:
    """A Kafka and a Redis that aren't the quickstart's own."""
    return {"KAFKA_BROKERS": embedded_kafka.bootstrap, "REDIS_URL": embedded_redis.url}


class Served:
    """One `manage.py serve` in production."""

    def __init__(self, folder: Path, named: dict[str, str]) -> None:
        self.log = folder / "serve.log"
        production = {"APP_ENV": "production", "SECRET_KEY": "x" * 40, "BUS_DEMO": "true", "BUS_DRAIN_SECONDS": "1"}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve"],
                cwd=ROOT,
                env=environment_of(folder, **named, **production, BUS_GROUP_PROTOCOL="consumer"),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def events(self) -> list[dict[str, object]]:
        """The log's lines; all of them are JSON in production."""
        *lines, _ = self.log.read_text().split("\n")
        return [json.loads(line) for line in lines]

    def has_logged(self, event: str) -> bool:
        assert self.process.poll() is None or event == "stopping", self.log.read_text()
        return any(line["event"] == event for line in self.events())


@pytest.fixture
def served(tmp_path: Path, named: dict[str, str]) -> Iterator[Served]:
    served = Served(tmp_path, named)
    yield served
    served.process.kill()
    served.process.wait()


def test_it_runs_web_and_consumers_and_stops_them_in_order(served: Served) -> None:
    wait_until(lambda: served.has_logged("ready"), 60, "readiness")
    wait_until(lambda: served.has_logged("partitions_assigned"), 30, "a worker")
    children = descendants(served.process.pid)
    commands = " ".join(children.values())
    assert "daphne" in commands
    assert "run_consumer --all" in commands
    assert not re.search("valkey|redis-server|embedded|demo_traffic", commands)
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(20) == 0
    assert served.has_logged("stopping")
    assert [pid for pid, command in children.items() if command_of(pid) == command] == []


def test_the_quickstart_embeds_nothing_that_the_environment_names(tmp_path: Path, named: dict[str, str]) -> None:
    quickstart = Quickstart(tmp_path / "folder", "--no-traffic", BUS_GROUP_PROTOCOL="consumer", **named)
    try:
        ready = quickstart.wait_until_ready()
        assert ready["kafka_brokers"] == named["KAFKA_BROKERS"]
        assert ready["redis_url"] == named["REDIS_URL"]
        assert not re.search("valkey|redis-server|bus.embedded.kafka", " ".join(quickstart.known.values()))
        assert "in memory only" not in quickstart.said()
        event_id = quickstart.publish("order.created", {"orderId": "ORD-1"})
        wait_until(lambda: quickstart.status_of(event_id) == "PROCESSED", 20, "PROCESSED")
        quickstart.stop()
    finally:
        quickstart.kill()
