"""Which programs there are, how each is started, and how long each may take to stop.

Programs start in one order and stop in the reverse one: traffic first, so that nothing new comes in, then web,
consumers and monitor, and only then what these lean on.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from bus.embedded import redis
from eventconsole.conf import BASE_DIR
from eventconsole.quickstart.program import Program

STOP_SECONDS = 9.0
"""The quickstart's programs stop within this, however stubborn they are; 10 s is what it promises."""
DRAIN_SECONDS = 2.5
"""What the quickstart's consumers get for running handlers, instead of BUS_DRAIN_SECONDS."""

KAFKA = "kafka"
REDIS = "redis"


def kafka(folder: Path) -> Program:
    """The embedded Kafka. It can't come back at its old address, so it isn't just started again."""
    command = [sys.executable, "-m", "bus.embedded.kafka"]
    files = ["--topics-json", str(folder / "topics.json"), "--ready-file", str(folder / "kafka.json")]
    return Program(KAFKA, (*command, *files), grace=1.0, restarts=False, folder=BASE_DIR)


def embedded_redis(port: int, folder: Path) -> Program:
    """The embedded Redis, at the same address however often it starts."""
    return Program(REDIS, tuple(redis.server_command(port, folder)), grace=1.0)


def web(listening: int, environment: Mapping[str, str], grace: float = 2.5) -> Program:
    """The web server, on a socket that is ours: it can start again without refusing anybody meanwhile."""
    command = (sys.executable, "-m", "daphne", "--verbosity", "0", "--fd", str(listening))
    return Program(
        "web",
        (*command, "eventconsole.asgi:application"),
        environment,
        grace=grace,
        reloads=True,
        inherits=(listening,),
        folder=BASE_DIR,
    )


def consumers(environment: Mapping[str, str], arguments: Collection[str] = (), grace: float = 5.0) -> Program:
    """One worker for all groups that have handlers."""
    return _managed("consumers", ["run_consumer", "--all", *arguments], environment, grace)


def monitor(environment: Mapping[str, str], grace: float = 1.5) -> Program:
    """What samples lag and indexes dead letters."""
    return _managed("monitor", ["run_monitor"], environment, grace)


def traffic(environment: Mapping[str, str], rate: float | None) -> Program:
    """The demo shop's customers. `rate` in events per second."""
    arguments = [] if rate is None else ["--rate", f"{rate:g}"]
    return _managed("traffic", ["demo_traffic", *arguments], environment, 2.0)


def _managed(name: str, command: list[str], environment: Mapping[str, str], grace: float) -> Program:
    line = (sys.executable, "manage.py", *command)
    return Program(name, line, environment, grace=grace, reloads=name != "traffic", folder=BASE_DIR)
