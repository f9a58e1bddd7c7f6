"""`manage.py run_consumer`: consume for one or several groups until SIGTERM."""

from __future__ import annotations

import signal
from argparse import SUPPRESS, ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from bus import conf, handlers, presence
from bus.consumer.processes import run_processes
from bus.consumer.worker import Worker, groups_to_run, quiet_garbage_collector
from bus.errors import BusError
from bus.kafka.producer import RecordProducer


class Command(BaseCommand):
    help = "Consume events for consumer groups: run their handlers, retry, dead-letter. Stops gracefully on SIGTERM."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--group", action="append", default=[], metavar="NAME", help="a consumer group; repeatable")
        parser.add_argument("--all", action="store_true", help="all groups that have handlers")
        parser.add_argument("--concurrency", type=int, metavar="N", help="handlers at a time (BUS_CONCURRENCY)")
        parser.add_argument("--processes", type=int, default=1, metavar="N", help="worker processes (default 1)")
        parser.add_argument("--worker", metavar="NAME", help="what the worker's name begins with (default: the host)")
        # For one process alone, ever: what the parent of several made up.
        parser.add_argument("--full-name", help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            groups = groups_to_run(options["group"], every=options["all"])
            if problems := handlers.problems():
                raise CommandError("; ".join(problems))
            settings = _settings(options["concurrency"])
        except BusError as error:
            raise CommandError(str(error)) from None
        if options["processes"] < 1:
            raise CommandError(f"--processes is {options['processes']}, allowed is 1 or more")
        if options["processes"] > 1:
            raise SystemExit(run_processes(options["processes"], list(groups), settings))
        name = options["full_name"] or presence.new_worker_name(options["worker"])
        sender = RecordProducer(settings)
        worker = Worker(groups, sender=sender, name=name, settings=settings)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        quiet_garbage_collector()
        try:
            worker.run()
        except BusError as error:
            raise CommandError(str(error)) from error
        finally:
            sender.close(timeout=2.0)


def _settings(concurrency: int | None) -> conf.BusSettings:
    settings = conf.current()
    if concurrency is None:
        return settings
    return conf.load(conf.BusSettings, **{**settings.model_dump(), "concurrency": concurrency})
