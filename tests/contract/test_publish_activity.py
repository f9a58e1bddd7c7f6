"""A process that publishes and ends leaves its activity in the stream, and ends as soon as without."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from bus import catalog, conf
from bus.activity import ActivityStream
from bus.ledger import Ledger
from tests.kafka.subject import KafkaUnderTest
from tests.worker.process import ROOT

PROGRAM = """
import sys, time
import bus
from bus import catalog
catalog.add_topic(sys.argv[1], "A topic of a test")
for _ in range(2):
    bus.publish(sys.argv[1], {}, key="k", event_id="mine", published_by="short-lived")
print(time.time())
"""


def run(topic: str, **env: str) -> float:
    """Publish in a process of its own. Returns how many seconds it took to end, once it had published."""
    command = [sys.executable, "-c", PROGRAM, topic]
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "BUS_ENV_FILE": "", **env}, check=True, capture_output=True, timeout=60
    )
    return time.time() - float(ended.stdout)


@pytest.fixture
def topic(make_topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(catalog, "_topics", catalog.topics())
    return make_topic("orders", 1)


def test_a_process_that_ends_at_once_is_seen(kafka: KafkaUnderTest, redis_url: str, topic: str) -> None:
    run(topic, KAFKA_BROKERS=kafka.bootstrap, REDIS_URL=redis_url, BUS_REDIS_PREFIX="test")

    ledger = Ledger(settings=conf.load(conf.BusSettings, redis_url_given=redis_url, redis_prefix="test"))
    entries = ActivityStream(ledger).recent()
    told = [each for activity in entries for each in activity.transitions]
    assert [(each.outcome, each.event_id, each.topic, each.key, each.worker) for each in told] == [
        ("published", "mine", topic, "k", "short-lived"), ("duplicate", "mine", topic, "k", "short-lived"),
    ]  # fmt: skip
    assert ledger.duplicates("mine") == {"publish": 1}
    assert {each.by for each in entries} != {"short-lived"}
    ledger.client.close()


def test_a_process_ends_without_waiting_for_a_redis_that_is_away(kafka: KafkaUnderTest, topic: str) -> None:
    took = run(topic, KAFKA_BROKERS=kafka.bootstrap, REDIS_URL="redis://127.0.0.1:1/0")

    assert took < 4.0
