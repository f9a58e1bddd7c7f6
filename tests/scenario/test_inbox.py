from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scenario.stage import PATIENCE, Stage


def sales(stage: Stage) -> list[str]:
    return sorted(event_id for event_id in stage.shop.sales() if event_id.startswith(stage.topic))


def database(stage: Stage) -> Path:
    return Path(stage.shop.env["DATABASE_URL"].removeprefix("sqlite:///"))


@dataclass(frozen=True)
class Row:
    """Where the worker dies, and how often the second event's handler runs then."""

    crash_at: Sequence[str]
    orders: Sequence[str]
    runs: int


ROWS = {
    "before BEGIN": Row(["bus.inbox:handle_once:before:2"], ("ok", "ok", "ok"), 1),
    "before COMMIT": Row([], ("ok", "kill:1", "ok"), 2),
    "after COMMIT": Row(["bus.inbox:handle_once:after:2"], ("ok", "ok", "ok"), 1),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_effects_in_the_database_are_exactly_once_whenever_the_worker_dies(
    open_stage: Callable[..., Stage], is_async: bool
) -> None:
    stages = {
        name: open_stage(partitions=1, exactly_once=True, is_async=is_async, settings={"BUS_LEASE_SECONDS": "1"})
        for name in ROWS
    }
    for name, row in ROWS.items():
        stages[name].send(*row.orders, keys=["key"])
    victims = [stages[name].worker(crash_at=row.crash_at) for name, row in ROWS.items()]
    assert [victim.wait(PATIENCE) for victim in victims] == [-signal.SIGKILL] * len(ROWS)
    heirs = [stage.worker() for stage in stages.values()]
    for (name, row), heir in zip(ROWS.items(), heirs, strict=True):
        stage = stages[name]
        stage.wait_settled(heir)
        assert sales(stage) == sorted(each.event_id for each in stage.sent), name
        starts = [each.number for each in stage.effects.read("started", stage.group)]
        assert starts.count(1) == row.runs, name
        assert stage.dead_letters() == []


def test_an_event_that_died_after_its_commit_while_alone_is_handled_and_no_dead_letter(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(partitions=1, exactly_once=True, settings={"BUS_LEASE_SECONDS": "1", "BUS_CRASH_LIMIT": "1"})
    stage.send("ok")
    first = stage.worker(crash_at=["bus.inbox:handle_once:before"])
    assert first.wait(PATIENCE) == -signal.SIGKILL
    second = stage.worker(crash_at=["bus.inbox:handle_once:after"])
    assert second.wait(PATIENCE) == -signal.SIGKILL
    stage.wait_settled(stage.worker())
    assert sales(stage) == [stage.sent[0].event_id]
    assert stage.dead_letters() == []


def test_a_database_that_cant_be_opened_pauses_the_group_and_counts_no_attempt(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(partitions=1, exactly_once=True)
    stage.send("ok", "fail:1", "ok", keys=["a", "b"])
    hidden = database(stage).rename(database(stage).with_name("hidden"))
    database(stage).mkdir()
    worker = stage.worker()
    worker.wait_for(lambda: len(worker.log("event_held_up")) >= 4)
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
        worker.wait_for(lambda: len(worker.log("event_held_up")) >= 4)
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
