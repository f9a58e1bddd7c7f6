"""The monitor's database dies in the middle of a replay and comes back: all goes on, and every count is exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.benchmark.postgres import NoPostgresError, Postgres
from tests.conftest import missing
from tests.processes import wait_until
from tests.scenario.stage import Stage
from tests.worker.process import Worker

COUNT, LATER = 80, 20


class Database:
    """A PostgreSQL that can be stopped, with the product's tables in it, and processes that use it."""

    def __init__(self, server: Postgres, folder: Path) -> None:
        self.server = server
        self._folder = folder
        self._started: list[Worker] = []

    def run(self, stage: Stage, *command: str) -> Worker:
        env = {**stage.shop.env, "DATABASE_URL": self.server.url, "BUS_MONITOR_LEASE_SECONDS": "2"}
        env["BUS_LEASE_SECONDS"] = "2"
        self._started.append(Worker(self._folder / f"{command[0]}-{len(self._started)}", list(command), env))
        return self._started[-1]

    def run_to_its_end(self, stage: Stage, *command: str) -> None:
        process = self.run(stage, *command)
        wait_until(lambda: process.returncode is not None, 60, f"the end of {command[0]}")
        assert process.returncode == 0, process.output

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.url) as connection:
            return connection.execute(query, parameters).fetchall()

    def statuses(self, topic: str) -> dict[str, int]:
        found = self.rows("SELECT status, count(*) FROM bus_deadletter WHERE topic = %s GROUP BY status", topic)
        return dict(found)

    def replay(self) -> dict[str, Any]:
        names = ("state", "total", "sent", "handled", "skipped")
        (row,) = self.rows(f"SELECT {', '.join(names)} FROM bus_replay")
        return dict(zip(names, row, strict=True))

    def end(self) -> None:
        for process in self._started:
            process.sigkill()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    try:
        server = Postgres()
    except NoPostgresError as error:
        missing(str(error))
    with server:
        mine = Database(server, tmp_path)
        yield mine
        mine.end()


@pytest.mark.slow
def test_indexing_and_a_running_replay_go_on_with_exact_counts(
    open_stage: Callable[..., Stage], database: Database
) -> None:
    stage = open_stage(partitions=2, max_attempts=1)
    database.run_to_its_end(stage, "migrate", "--verbosity", "0")
    keys = [f"key-{number}" for number in range(7)]
    stage.send(*["fail-live"] * COUNT, keys=keys)
    worker = stage.worker()
    stage.wait_settled(worker)
    monitor = database.run(stage, "run_monitor")
    monitor.wait_for(lambda: database.statuses(stage.topic) == {"open": COUNT}, 60)
    database.run_to_its_end(stage, "replay", "--topic", stage.topic, "--rate", "20", "--no-wait")
    monitor.wait_for(lambda: 5 < database.replay()["sent"] < COUNT, 60)

    database.server.stop()
    stage.send(*["fail-live"] * LATER, keys=keys)
    monitor.wait_for(lambda: bool(monitor.log("database_away")) and bool(monitor.log("task_waits")), 60)
    database.server.start()

    monitor.wait_for(lambda: database.replay()["state"] == "completed", 90)
    monitor.wait_for(lambda: database.statuses(stage.topic) == {"resolved": COUNT, "open": LATER}, 60)
    assert database.replay() == {
        "state": "completed",
        "total": COUNT,
        "sent": COUNT,
        "handled": COUNT,
        "skipped": 0,
    }
    replayed = [each.number for each in stage.effects.read("done") if each.generation == 1]
    assert sorted(number or 0 for number in replayed) == stage.numbers()[:COUNT], "each once, none of the later ones"
    (counts,) = database.rows(
        "SELECT sum(open), sum(replaying), sum(resolved) FROM bus_errorgroupplace WHERE topic = %s", stage.topic
    )
    assert counts == (LATER, 0, COUNT)
    assert monitor.log("task_failed") == []
    assert monitor.sigterm(15) == 0
