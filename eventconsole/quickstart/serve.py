"""Web, monitor and consumers under one supervisor, on services of your own: `manage.py serve`.

Their logs go where ours go, as they are. What dies is started again; SIGTERM stops all, the consumers after their
drain.
"""

from __future__ import annotations

import structlog
from django.core.management import call_command, get_commands
from django.db import connections

from bus import conf as bus_conf
from bus import handlers
from bus.errors import ConfigurationError
from eventconsole import conf
from eventconsole.quickstart import place, plan, readiness
from eventconsole.quickstart.program import Program
from eventconsole.quickstart.stopping import Stopped, StopRequest, on_signals
from eventconsole.quickstart.supervisor import Supervisor

log = structlog.get_logger("eventconsole.quickstart")

_TICK = 0.5
# "Any address" is one to listen on, not one to connect to.
_REACHABLE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1"}
_GRACE_BESIDE_DRAIN = 5.0


def refuse_what_is_missing() -> None:
    """Raises ConfigurationError unless the environment names a Kafka and a Redis: the defaults would be a guess."""
    given = bus_conf.current().model_fields_set
    if "kafka_brokers" not in given:
        raise ConfigurationError(
            "KAFKA_BROKERS: nothing given, allowed are the addresses of your brokers; nothing is embedded in production"
        )
    if not given & {"redis_url_given", "redis_host"}:
        raise ConfigurationError(
            "REDIS_URL: nothing given, allowed is the address of your Redis (or REDIS_HOST); nothing is embedded in "
            "production"
        )


def set_up() -> None:
    """Migrate the database, collect static files and create topics, as far as that isn't done."""
    call_command("migrate", verbosity=0, interactive=False)
    if conf.current().is_production:
        call_command("collectstatic", verbosity=0, interactive=False)
    call_command("create_topics", verbosity=0)
    connections.close_all()


def serve(host: str) -> None:
    """Run until somebody asks to stop. Raises ConfigurationError or StartError when it can't."""
    settings = conf.current()
    with place.listen(settings.port, settings.quickstart_dir, host) as listening:
        supervisor = Supervisor(log.warning, log_folder=None)
        with on_signals(lambda: setattr(supervisor, "is_hurried", True)) as request, supervisor:
            for program in _programs(listening.fileno()):
                supervisor.start(program)
            url = f"http://{_REACHABLE.get(host, host)}:{listening.getsockname()[1]}"
            try:
                _look_after(supervisor, request, url)
            except Stopped:
                log.info("stopping", programs=list(supervisor.pids()))


def _look_after(supervisor: Supervisor, request: StopRequest, url: str) -> None:
    while True:
        request.check()
        supervisor.step(_TICK)
        if supervisor.is_strict and readiness.answers(url):
            supervisor.is_strict = False
            log.info("ready", url=url, programs=list(supervisor.pids()))


def _programs(listening: int) -> list[Program]:
    drain = bus_conf.current().drain_seconds
    programs = [plan.monitor({}, grace=_GRACE_BESIDE_DRAIN)] if "run_monitor" in get_commands() else []
    if handlers.registry.groups():
        programs.append(plan.consumers({}, grace=drain + _GRACE_BESIDE_DRAIN))
    else:
        log.warning("no handlers are installed, so no consumers run; BUS_EXTRA_APPS names apps that have some")
    return [*programs, plan.web(listening, {}, grace=_GRACE_BESIDE_DRAIN)]
