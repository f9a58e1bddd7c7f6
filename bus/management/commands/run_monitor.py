"""`manage.py run_monitor`: index dead letters, send replays and follow them, until SIGTERM."""

from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from bus import conf
from bus.consumer.worker import quiet_garbage_collector
from bus.errors import BusError
from bus.monitor.leadership import Leadership
from bus.monitor.monitor import Monitor
from bus.monitor.tasks import all_tasks
from bus.presence import new_worker_name


class Command(BaseCommand):
    help = (
        "Index dead letters, send replays and follow what becomes of them. One process per installation does it; "
        "further ones stand by. Stops gracefully on SIGTERM."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            settings = conf.current()
            leadership = Leadership("monitor", new_worker_name(), settings.monitor_lease_seconds)
            monitor = Monitor(leadership, all_tasks(settings))
        except BusError as error:
            raise CommandError(str(error)) from error
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: monitor.stop())
        quiet_garbage_collector()
        monitor.run()
