"""manage.py create_token --name orders --scope publish --scope read [--topic 'order.*'] [--expires-days 90]"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from bus.errors import ConfigurationError
from eventconsole.api.tokens import create_token
from eventconsole.models import Scope

__all__ = ["Command", "create_token"]


class Command(BaseCommand):
    help = "Make an API token and print it. It can't be shown again: only its hash is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True, help="stands in published events as their publisher")
        parser.add_argument(
            "--scope",
            action="append",
            required=True,
            choices=[scope.value for scope in Scope],
            help="what it may do; repeat for more",
        )
        parser.add_argument(
            "--topic", action="append", default=[], help="a topic it may use, such as 'order.*'; default all of them"
        )
        parser.add_argument("--expires-days", type=float, help="days until it stops working; default never")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            token = create_token(
                options["name"], options["scope"], topics=options["topic"], expires_days=options["expires_days"]
            )
        except ConfigurationError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(token)
