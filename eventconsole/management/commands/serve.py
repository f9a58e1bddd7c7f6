"""manage.py serve [--host 0.0.0.0] [--no-setup]"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from bus.errors import BusError
from eventconsole.quickstart import serve


class Command(BaseCommand):
    help = (
        "Run web, monitor and consumers under one supervisor, on the Kafka, Redis and database that the environment "
        "names. Migrates, collects static files and creates topics first."
    )
    # Migrations come first, and what they need is checked then.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default 127.0.0.1")
        parser.add_argument(
            "--no-setup", action="store_true", help="leave database, static files and topics as they are"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            serve.refuse_what_is_missing()
            if not options["no_setup"]:
                serve.set_up()
            serve.serve(options["host"])
        except BusError as error:
            raise CommandError(str(error)) from None
