"""The monitor beside workers: what they give up on is found in the index, whatever ends meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.scenario.stage import Stage
from tests.worker.process import Worker


@pytest.fixture
def start_monitor(tmp_path: Path) -> Iterator[Callable[[Stage], Worker]]:
    """Starts `run_monitor` for a stage."""
    monitors: list[Worker] = []

    def start(stage: Stage) -> Worker:
        env = {**stage.shop.env, "BUS_MONITOR_LEASE_SECONDS": "2"}
        monitors.append(Worker(tmp_path / f"monitor-{len(monitors)}", ["run_monitor"], env))
        return monitors[-1]

    yield start
    for monitor in monitors:
        monitor.sigkill()


def rows(stage: Stage, columns: str = "event_id, generation, status") -> list[tuple[Any, ...]]:
    path = stage.shop.env["DATABASE_URL"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=20)) as database:
        query = f'SELECT {columns} FROM bus_deadletter WHERE topic = ? ORDER BY event_id, "group", generation'
        return database.execute(query, [stage.topic]).fetchall()


def test_dead_letters_of_workers_are_indexed_and_linked_over_a_replay_and_a_killed_monitor(
    open_stage: Callable[..., Stage], start_monitor: Callable[[Stage], Worker]
) -> None:
    stage = open_stage(groups=("billing", "shipping"))
    first = start_monitor(stage)
    worker = stage.worker(ready=True)
    failed, permanent, _ = stage.send(f"fail@{stage.group}", f"permanent@{stage.group}", "ok")
    stage.wait_settled(worker)
    first.wait_for(lambda: len(rows(stage)) == 2)

    first.sigkill()
    second = start_monitor(stage)
    for letter in stage.dead_letters():
        if letter.event_id == failed.event_id:
            stage.replay(letter)
    stage.wait_settled(worker)
    second.wait_for(lambda: len(rows(stage)) == 3)

    assert rows(stage) == [
        (failed.event_id, 0, "superseded"),
        (failed.event_id, 1, "open"),
        (permanent.event_id, 0, "open"),
    ]
    assert rows(stage, '"group", reason, attempts, error_type') == [
        (stage.group, "exhausted", 4, "HandlerFailedError"),
        (stage.group, "exhausted", 4, "HandlerFailedError"),
        (stage.group, "permanent", 1, "PermanentError"),
    ]
    assert len({row[0] for row in rows(stage, "fingerprint")}) == 2
    assert second.sigterm(10) == 0


def test_the_index_goes_on_when_kafka_is_back(
    open_stage: Callable[..., Stage], start_monitor: Callable[[Stage], Worker]
) -> None:
    stage = open_stage()
    if not stage.kafka.can_stop:
        pytest.skip("the Kafka of TEST_KAFKA_BROKERS isn't the tests' to stop")
    monitor = start_monitor(stage)
    stage.send("permanent")
    worker = stage.worker()
    monitor.wait_for(lambda: len(rows(stage)) == 1)

    stage.kafka.stop()
    monitor.wait_for_output("task_waits index", 30)
    stage.kafka.start()
    stage.send("permanent")

    monitor.wait_for(lambda: len(rows(stage)) == 2, 60)
    worker.sigkill()
    assert monitor.sigterm(10) == 0
