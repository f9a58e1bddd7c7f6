"""`manage.py pause_group`: start nothing of a group, or of one of its topics, until it is resumed."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError

from bus.control import pauses
from bus.errors import BusError
from bus.ledger import Ledger


class Command(BaseCommand):
    help = "Pause a consumer group, or one topic of it. What runs finishes; workers obey within 2 s."

    change: ClassVar[Callable[..., pauses.Told]] = staticmethod(pauses.pause)
    done = "paused"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--group", required=True, metavar="NAME", help="a consumer group of this installation")
        parser.add_argument("--topic", default="", metavar="NAME", help="only this topic of it")
        parser.add_argument("--reason", default="", metavar="TEXT", help="for the audit, and for whoever wonders why")

    def handle(self, *args: Any, **options: Any) -> None:
        group, topic, who = options["group"], options["topic"], f"{getpass.getuser()} (command)"
        try:
            told = self.change(group, topic, who, options["reason"], datetime.now(UTC), Ledger().mirror)
        except BusError as error:
            raise CommandError(str(error)) from error
        when = (
            "workers obey within 2 s" if told.is_told else "Redis is away: workers obey once the monitor has told them"
        )
        self.stdout.write(f"{f'{topic} of {group}' if topic else group} is {self.done}; {when}")
