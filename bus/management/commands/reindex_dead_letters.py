"""`manage.py reindex_dead_letters`: read all dead letters from Kafka again."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from bus.consumer.worker import quiet_garbage_collector
from bus.deadletterindex.counts import recount
from bus.deadletterindex.index import Index, PositionTakenError, Progress, begin_anew
from bus.errors import BusError
from bus.kafka.admin import Admin
from bus.kafka.reader import RecordReader
from bus.models import DeadLetter


class Command(BaseCommand):
    help = (
        "Read all dead letters from Kafka again and count anew. Rows whose record isn't in Kafka any more go, unless "
        "they are kept; notes, discards and replays stay. May run beside the monitor."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            quiet_garbage_collector()
            admin = Admin()
            admin.ping(5.0)
            with RecordReader(name="reindex") as reader:
                index = Index(reader, admin)
                begin_anew()
                self._catch_up(index, options["verbosity"])
        except BusError as error:
            raise CommandError(str(error)) from error
        with transaction.atomic():
            recount()
        if options["verbosity"]:
            self.stdout.write(f"{DeadLetter.objects.count()} dead letters in the index")

    def _catch_up(self, index: Index, verbosity: int) -> None:
        said = -1

        def say(progress: Progress) -> None:
            nonlocal said
            if verbosity and progress.behind // 10_000 != said:
                said = progress.behind // 10_000
                self.stdout.write(f"{progress.behind} records to read")

        while True:
            try:
                index.catch_up(say)
            except PositionTakenError:
                # The monitor reads, too: go on from where it is.
                continue
            return
