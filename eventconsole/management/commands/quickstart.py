"""manage.py quickstart [--no-traffic] [--rate N] [--without-demo] [--reload]"""

from __future__ import annotations

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from bus.errors import BusError
from eventconsole import conf
from eventconsole.quickstart.quickstart import Options, Quickstart


class Command(BaseCommand):
    help = (
        "Start everything for trying it out: Kafka and Redis (embedded unless the environment names real ones), web, "
        "consumers, monitor and the traffic of the demo shop. Ctrl-C stops all. Not for production."
    )
    # The checks ask for what is only about to be made.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-traffic", action="store_true", help="the demo shop has no customers")
        parser.add_argument("--rate", type=_rate, help="events per second that they cause")
        parser.add_argument("--without-demo", action="store_true", help="leave the demo shop out altogether")
        parser.add_argument("--reload", action="store_true", help="restart web and consumers when a file changes")

    def handle(self, *args: Any, **options: Any) -> None:
        settings = conf.current()
        if settings.is_production:
            raise CommandError(
                "the quickstart is for trying things out, not for APP_ENV=production: use make prod (manage.py serve)"
            )
        if options["without_demo"] and settings.with_demo:
            # Which apps are installed is settled when Django starts, so it has to start again.
            os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "BUS_DEMO": "false"})
        chosen = Options(
            traffic=not options["no_traffic"] and not options["without_demo"],
            rate=options["rate"],
            reload=options["reload"],
            everything=options["verbosity"] > 1,
        )
        try:
            Quickstart(chosen).run()
        except BusError as error:
            raise CommandError(str(error)) from None


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= 10_000:
        raise ValueError
    return rate
