"""Everything on one machine, for trying things out: `manage.py quickstart`.

What the environment doesn't name is embedded. The order is: Kafka and Redis, and the database meanwhile; topics; web,
consumers and monitor; traffic. When all answer, `ready.json` is written and the address, login and token are printed.

An embedded Kafka that dies takes its events and its address with it. Then everything that talks to it is stopped and
started again with the new address, and what the database remembers of the old one is forgotten.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from django.core.management import call_command, get_commands
from django.db import connections

from bus import conf as bus_conf
from bus import handlers
from bus.embedded import redis
from bus.kafka import admin
from bus.ledger import Ledger
from bus.presence import Presence
from eventconsole import conf
from eventconsole.quickstart import account, place, plan, readiness
from eventconsole.quickstart.changes import Changes
from eventconsole.quickstart.output import COLOUR
from eventconsole.quickstart.program import Program
from eventconsole.quickstart.stopping import Stopped, StopRequest, on_signals
from eventconsole.quickstart.supervisor import StartError, Supervisor

_START_SECONDS = 60.0
_TICK = 0.25
_MAX_KAFKA_DEATHS = 5


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    traffic: bool = True
    rate: float | None = None
    reload: bool = False
    everything: bool = False
    """Whether all that the programs say goes to the terminal."""


def say(line: str) -> None:
    """Write a line to the terminal, if that is still there; colours only to one that shows them."""
    try:
        print(line if sys.stdout.isatty() else COLOUR.sub("", line), flush=True)  # noqa: T201
    except OSError:
        # Its end is no reason to leave programs behind.
        pass


class Quickstart:
    """One run; see the module."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._console = conf.current()
        self._bus = bus_conf.current()
        self._folder = self._console.quickstart_dir
        given = self._bus.model_fields_set
        self._embeds_kafka = "kafka_brokers" not in given
        self._embeds_redis = not given & {"redis_url_given", "redis_host", "redis_port"}
        self._kafka_brokers = self._bus.kafka_brokers
        self._redis_url = self._bus.redis_url
        self._kafka_deaths = 0
        self._account: account.Account | None = None

    def run(self) -> None:
        """Run until somebody asks to stop. Raises ConfigurationError or StartError when it can't."""
        with ExitStack() as cleanup:
            # The port first: that it is taken is what a second start is most likely to meet.
            listening = cleanup.enter_context(place.listen(self._console.port, self._folder))
            cleanup.enter_context(place.own_folder(self._folder))
            self._url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            self._listening = listening
            place.remove_ready(self._folder)
            logs = self._folder / "logs"
            logs.mkdir(exist_ok=True)
            self._supervisor = Supervisor(say, logs, everything=self._options.everything, stop_within=plan.STOP_SECONDS)
            self._stop: StopRequest = cleanup.enter_context(on_signals(self._hurry))
            cleanup.enter_context(self._supervisor)
            changes = cleanup.enter_context(Changes(_code())) if self._options.reload else None
            cleanup.callback(self._say_goodbye)
            try:
                self._start()
                self._look_after(changes)
            except Stopped:
                pass

    def _hurry(self) -> None:
        self._supervisor.is_hurried = True

    def _say_goodbye(self) -> None:
        place.remove_ready(self._folder)
        self._kafka_file.unlink(missing_ok=True)
        # Closed before the web server stops, so that nobody waits on a socket that no one will answer.
        self._listening.close()
        say("Stopping …")

    # -- starting ---------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        started = time.monotonic()
        if self._embeds_redis:
            self._start_redis()
        if self._embeds_kafka:
            self._start_kafka()
        call_command("migrate", verbosity=0, interactive=False)
        self._await_embedded()
        if not self._embeds_kafka:
            call_command("create_topics", verbosity=0)
        self._start_ours()
        self._account = account.provide(self._folder)
        connections.close_all()
        self._await_ours()
        self._supervisor.is_strict = False
        self._write_ready()
        say(readiness.banner(self._url, self._account, self._services(), self._folder, time.monotonic() - started))

    def _start_redis(self) -> None:
        self._redis_port = redis.free_port()
        self._redis_url = f"redis://127.0.0.1:{self._redis_port}/0"
        self._supervisor.start(plan.embedded_redis(self._redis_port, self._folder))

    def _start_kafka(self) -> None:
        topics = {spec.name: spec.partitions for spec in admin.specs(self._bus)}
        (self._folder / "topics.json").write_text(json.dumps(topics))
        self._kafka_file.unlink(missing_ok=True)
        self._supervisor.start(plan.kafka(self._folder))

    @property
    def _kafka_file(self) -> Path:
        return self._folder / "kafka.json"

    def _await_embedded(self) -> None:
        if self._embeds_redis:
            self._await(plan.REDIS, self._redis_answers)
        if self._embeds_kafka:
            self._await(plan.KAFKA, self._kafka_file.exists)
            self._kafka_brokers = json.loads(self._kafka_file.read_text())["bootstrap"]

    def _redis_answers(self) -> bool:
        pid = self._supervisor.pids().get(plan.REDIS)
        return pid is not None and redis.answers(self._redis_port, pid)

    def _start_ours(self) -> None:
        self._ours_since = time.time()
        for program in self._ours():
            self._supervisor.start(program)

    def _ours(self) -> list[Program]:
        environment = self._environment()
        known = get_commands()
        programs = [plan.monitor(environment)] if "run_monitor" in known else []
        if handlers.registry.groups():
            programs.append(plan.consumers(environment))
        programs.append(plan.web(self._listening.fileno(), environment))
        if self._options.traffic and self._console.quickstart_traffic and "demo_traffic" in known:
            programs.append(plan.traffic(environment, self._options.rate))
        return programs

    def _environment(self) -> dict[str, str]:
        environment = {
            "KAFKA_BROKERS": self._kafka_brokers,
            "REDIS_URL": self._redis_url,
            "BUS_DRAIN_SECONDS": f"{min(self._bus.drain_seconds, plan.DRAIN_SECONDS):g}",
            "PYTHONUNBUFFERED": "1",
        }
        if self._embeds_kafka and "group_protocol" not in self._bus.model_fields_set:
            # The mock cluster takes most of a session time-out for each classic rebalance.
            environment["BUS_GROUP_PROTOCOL"] = "consumer"
        return environment

    def _await_ours(self) -> None:
        self._await("web", lambda: readiness.answers(self._url))
        groups = handlers.registry.groups()
        if groups:
            settings = self._bus.model_copy(update={"redis_url_given": self._redis_url})
            ledger = Ledger(settings=settings)
            presence = Presence(ledger)
            self._await("consumers", lambda: readiness.have_joined(presence, groups, self._ours_since))
            ledger.client.close()

    def _await(self, name: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            self._stop.check()
            if time.monotonic() > deadline:
                raise StartError(f"{name} isn't ready after {_START_SECONDS:g} s; see {self._folder / 'logs'}")
            died = self._supervisor.step(0.05)
            if died:
                raise StartError(f"{died[0]} doesn't start; see {self._folder / 'logs' / died[0]}.log")

    def _write_ready(self) -> None:
        assert self._account
        content = {
            "url": self._url,
            "username": self._account.username,
            "password": self._account.password,
            "token": self._account.token,
            "kafka_brokers": self._kafka_brokers,
            "redis_url": self._redis_url,
        }
        place.write_ready(self._folder, content)

    def _services(self) -> readiness.Services:
        return readiness.Services(self._kafka_brokers, self._embeds_kafka, self._redis_url, self._embeds_redis)

    # -- running ----------------------------------------------------------------------------------------------------

    def _look_after(self, changes: Changes | None) -> None:
        while True:
            self._stop.check()
            if plan.KAFKA in self._supervisor.step(_TICK):
                self._replace_kafka()
            changed = changes.take() if changes else []
            if changed:
                say(f"{_listed(changed)} changed, restarting what runs it")
                self._supervisor.restart(p.name for p in self._supervisor.programs() if p.reloads)

    def _replace_kafka(self) -> None:
        self._kafka_deaths += 1
        if self._kafka_deaths > _MAX_KAFKA_DEATHS:
            raise StartError(
                f"the embedded Kafka died {self._kafka_deaths} times; see {self._folder / 'logs/kafka.log'}"
            )
        say(
            "kafka died, and its events with it: starting an empty one, and all that depends on it again, "
            "because its address changes"
        )
        place.remove_ready(self._folder)
        ours = [program.name for program in self._ours()]
        self._supervisor.stop(ours)
        self._start_kafka()
        self._await_embedded()
        connections.close_all()
        self._start_ours()
        self._await_ours()
        self._write_ready()
        say(f"kafka is back, at {self._kafka_brokers}")


def _code() -> list[Path]:
    from django.apps import apps

    environment = Path(sys.prefix)
    own = {Path(app.path) for app in apps.get_app_configs() if environment not in Path(app.path).parents}
    return sorted({*own, conf.BASE_DIR / "templates"})


def _listed(paths: list[str]) -> str:
    names = [os.path.relpath(path, conf.BASE_DIR) for path in paths[:3]]
    return ", ".join(names) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
