"""Samples of what processes really wrote to the activity stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from bus import conf, history
from bus.activity import ActivityLog, ActivityStream
from bus.conf import BusSettings
from bus.history.recorder import Recorder
from bus.ledger import Ledger
from tests.processes import wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture
def redis_settings(redis_url: str, unique: Callable[[str], str]) -> Iterator[BusSettings]:
    with conf.override(redis_url_given=redis_url, redis_prefix=unique("history")) as made:
        yield made


def test_samples_add_up_to_what_several_processes_counted(redis_settings: BusSettings) -> None:
    ledger, began = Ledger(settings=redis_settings), datetime.now(UTC)
    recorder = Recorder(ActivityStream(ledger), dict)
    logs = [ActivityLog(ledger, f"worker-{number}") for number in range(3)]
    published = processed = 0
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        for number, log in enumerate(logs, 1):
            log.count("orders", "", "published", number)
            log.count("orders", "billing", "processed", ms=7)
            published, processed = published + number, processed + 1
        recorder.step()
        time.sleep(0.01)
    for log in logs:
        log.close()

    def is_recorded() -> bool:
        recorder.step()
        newest = history.newest("outcomes")
        return newest is not None and newest.at > datetime.now(UTC) - timedelta(seconds=7) and newest.at > began

    time.sleep(0.1)
    ended = datetime.now(UTC)
    wait_until(lambda: is_recorded() and history.newest("outcomes").at + timedelta(seconds=5) > ended, 20, "samples")  # type: ignore[union-attr]

    # All of it may lie in a slot that began before.
    since = began - timedelta(seconds=5)
    points = history.points("outcomes", since, datetime.now(UTC), 5)
    assert round(sum(point.values.get("published", 0) for point in points) * 5) == published
    assert round(sum(point.values.get("processed", 0) for point in points) * 5) == processed
    series = history.points_of(["topic:orders", "group:billing", "handling"], since, datetime.now(UTC), 5)
    assert round(sum(point.values.get("published", 0) for point in series["topic:orders"]) * 5) <= published
    assert any(point.values.get("processed") for point in series["group:billing"])
    assert any(7 <= point.values.get("p95", 0) <= 8 for point in series["handling"])
