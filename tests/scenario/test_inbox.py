from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bus.ledger import Ledger
from bus.ledger.mirror import Steering
from tests.scenario.stage import PATIENCE, Stage


def sales(stage: Stage) -> list[str]:
    return sorted(event_id for event_id in stage.shop.sales() if event_id.startswith(stage.topic))


def database(stage: Stage) -> Path:
    return Path(stage.shop.env["DATABASE_URL"].removeprefix("sqlite:///"))


@dataclass(frozen=True)
class Row:
    """Where one worker after the other dies, and how often the second event's handler runs then."""

    crashes: Sequence[str]
    orders: Sequence[str] = ("ok", "ok", "ok")
    runs: int = 1
    is_async: bool = False


BY_ITS_HANDLER = ""
ROWS = {
    "before BEGIN": Row(["bus.inbox:handle_once:before:2"]),
    "before COMMIT": Row([BY_ITS_HANDLER], ("ok", "kill:1", "ok"), runs=2),
    "after COMMIT": Row(["bus.inbox:handle_once:after:2"]),
    "async, before COMMIT": Row([BY_ITS_HANDLER], ("ok", "kill:1", "ok"), runs=2, is_async=True),
    "async, after COMMIT": Row(["bus.inbox:handle_once:after:2"], is_async=True),
    # It used up BUS_CRASH_LIMIT, but is done.
    "after COMMIT, alone": Row(["bus.inbox:handle_once:before:2", "bus.inbox:handle_once:after:2"]),
}


def test_effects_in_the_database_are_exactly_once_whenever_the_worker_dies(open_stage: Callable[..., Stage]) -> None:
    settings = {"BUS_LEASE_SECONDS": "1", "BUS_CRASH_LIMIT": "1"}
    stages = {
        name: open_stage(partitions=1, exactly_once=True, is_async=row.is_async, settings=settings)
        for name, row in ROWS.items()
    }
    for name, row in ROWS.items():
        stages[name].send(*row.orders, keys=["key"])
    for death in range(max(len(row.crashes) for row in ROWS.values())):
        points = {name: row.crashes[death] for name, row in ROWS.items() if death < len(row.crashes)}
        victims = [stages[name].worker(crash_at=[point] if point else []) for name, point in points.items()]
        assert [victim.wait(PATIENCE) for victim in victims] == [-signal.SIGKILL] * len(victims)
    for stage in stages.values():
        stage.worker()
    for name, stage in stages.items():
        stage.wait_settled()
        assert sales(stage) == sorted(each.event_id for each in stage.sent), name
        starts = [each.number for each in stage.effects.read("started", stage.group)]
        assert starts.count(1) == ROWS[name].runs, name
        assert stage.dead_letters() == [], name


def test_a_database_that_cant_be_opened_pauses_the_group_and_counts_no_attempt(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(partitions=1, exactly_once=True)
    stage.send("ok", "fail:1", "ok", keys=["a", "b"])
    # What the monitor keeps in Redis: without it, and without the database, a worker can't know what is paused.
    Ledger().mirror.write(Steering())
    hidden = database(stage).rename(database(stage).with_name("hidden"))
    database(stage).mkdir()
    worker = stage.worker()
    worker.wait_for(lambda: len(worker.log("event_held_up")) >= 2)
    assert stage.effects.read() == []
    database(stage).rmdir()
    hidden.rename(database(stage))
    check_that_nothing_happened(stage)


def test_a_database_without_its_tables_pauses_the_group_and_counts_no_attempt(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(partitions=1, exactly_once=True)
    stage.send("ok", "fail:1", "ok", keys=["a", "b"])
    with closing(sqlite3.connect(database(stage))) as connection:
        connection.execute("ALTER TABLE bus_inboxentry RENAME TO hidden")
        worker = stage.worker()
        worker.wait_for(lambda: len(worker.log("event_held_up")) >= 2)
        assert stage.effects.read() == []
        connection.execute("ALTER TABLE hidden RENAME TO bus_inboxentry")
    check_that_nothing_happened(stage)


def check_that_nothing_happened(stage: Stage) -> None:
    stage.wait_settled()
    assert stage.handled() == [0, 1, 2]
    started = sorted((each.number or 0, each.attempt) for each in stage.effects.read("started"))
    assert started == [(0, 1), (1, 1), (1, 2), (2, 1)]
    assert sales(stage) == sorted(each.event_id for each in stage.sent)
    assert stage.dead_letters() == []
