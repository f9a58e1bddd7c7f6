"""Fixtures: a shop with topics and groups of its own, and workers that run its handlers."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bus import catalog, conf, handlers
from tests.kafka.subject import KafkaUnderTest
from tests.shop.effects import Effects
from tests.shop.plan import VARIABLE, HandlerPlan, ShopPlan
from tests.worker.process import ROOT, Worker

SETTINGS = {
    "BUS_RETRY_DELAYS": "0.2,0.4,0.6",
    "BUS_LEASE_SECONDS": "2",
    "BUS_HEARTBEAT_INTERVAL": "0.5",
    "BUS_COMMIT_INTERVAL": "0.2",
    "BUS_SESSION_TIMEOUT_MS": "6000",
    # Both brokers rebalance it within a second; the embedded one takes the session time-out with the classic protocol.
    "BUS_GROUP_PROTOCOL": "consumer",
}
"""What workers of the tests are set to, unless a test says otherwise: everything that is waited for is short."""


@dataclass(slots=True)
class Shop:
    """Topics and groups of one test, known to this process and to the workers it starts."""

    plan: ShopPlan
    effects: Effects
    env: dict[str, str] = field(repr=False)
    """The environment of its workers."""

    @property
    def topic(self) -> str:
        """Its first topic."""
        return self.plan.handlers[0].topics[0]

    @property
    def group(self) -> str:
        """Its first group."""
        return self.plan.handlers[0].group

    def sales(self) -> list[str]:
        """Event ids of what `exactly_once` handlers wrote to the workers' database, and committed."""
        path = self.env["DATABASE_URL"].removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as database:
            return [row[0] for row in database.execute("SELECT event_id FROM shop_sale ORDER BY id")]


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, made once; workers get copies."""
    folder = tmp_path_factory.mktemp("database")
    env = {**_environment(folder), "KAFKA_BROKERS": "127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    if not (ROOT / "manage.py").exists():
        command[1:2] = ["-m", "django"]
    subprocess.run(command, env=env, cwd=ROOT, check=True, timeout=60)
    return folder / "db.sqlite3"


@pytest.fixture
def open_shop(
    kafka: KafkaUnderTest,
    redis_url: str,
    migrated_database: Path,
    unique: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Shop]]:
    """Opens a shop: `open_shop(groups=("billing",), topics=("orders",), partitions=4, **options of the handlers)`.

    Its names are made unique, its topics are created on the Kafka under test, and the settings of this process point
    to the services of the test.
    """
    prefix = unique("test")
    _forget_afterwards(monkeypatch)
    shutil.copy(migrated_database, tmp_path / "db.sqlite3")
    services = {"KAFKA_BROKERS": kafka.bootstrap, "REDIS_URL": redis_url, "BUS_REDIS_PREFIX": prefix}
    env = {**_environment(tmp_path), **services, **SETTINGS}

    def open_it(
        groups: Sequence[str] = ("billing",),
        topics: Sequence[str] = ("orders",),
        partitions: int = 4,
        is_async: bool = False,
        settings: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Shop:
        names = tuple(unique(name) for name in topics)
        plans = tuple(HandlerPlan(unique(group), names, is_async, options) for group in groups)
        plan = ShopPlan(str(tmp_path / "effects.jsonl"), plans)
        _stock(kafka, plan, partitions)
        return Shop(plan, Effects(Path(plan.effects)), {**env, **(settings or {}), VARIABLE: plan.to_json()})

    with conf.override(
        kafka_brokers=kafka.bootstrap, redis_url_given=redis_url, redis_prefix=prefix, group_protocol="consumer"
    ):
        yield open_it


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts a worker: `start_worker(shop, crash_at=["bus.ledger:Ledger.exchange:after:2"])`.

    It consumes for all groups of the shop unless `groups` names some. `arguments` are added to the command line,
    `settings` to the environment. What still runs at the end of the test is killed.
    """
    workers: list[Worker] = []

    def start(
        shop: Shop,
        groups: Sequence[str] = (),
        arguments: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        crash_at: Sequence[str] = (),
        freeze_at: Sequence[str] = (),
    ) -> Worker:
        named = [part for group in groups or shop.plan.groups for part in ("--group", group)]
        command = ["run_consumer", *named, *arguments]
        env = {**shop.env, **(settings or {})}
        workers.append(Worker(tmp_path / f"worker-{len(workers) + 1}", command, env, crash_at, freeze_at))
        return workers[-1]

    yield start
    for worker in workers:
        worker.sigkill()


def _forget_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds to catalog and handlers isn't there for the next one."""
    monkeypatch.setattr(catalog, "_topics", catalog.topics())
    monkeypatch.setattr(catalog, "_groups", catalog.groups())
    # In place: other modules hold the registry itself.
    monkeypatch.setattr(handlers.registry, "_handlers", {})
    monkeypatch.setattr(handlers.registry, "conflicts", [])


def _environment(folder: Path) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "DJANGO_SETTINGS_MODULE": "eventconsole.settings",
        "APP_ENV": "production",  # its logs are JSON, which tests can read
        "SECRET_KEY": "only-for-tests-" * 3,
        "BUS_ENV_FILE": "",
        "BUS_DEMO": "0",
        "BUS_EXTRA_APPS": "tests.shop",
        "QUICKSTART_DIR": str(folder),
        "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
    }


def _stock(kafka: KafkaUnderTest, plan: ShopPlan, partitions: int) -> None:
    from tests.shop.handlers import register

    for topic in plan.topics:
        catalog.add_topic(topic, "A topic of a test")
        kafka.create_topic(topic, partitions)
        kafka.create_topic(catalog.dead_letter_topic(topic), partitions, {"max.message.bytes": "2200000"})
    for group in plan.groups:
        catalog.add_group(group, "A group of a test")
        kafka.create_topic(catalog.replay_topic(group), partitions, {"max.message.bytes": "2200000"})
    register(plan)
