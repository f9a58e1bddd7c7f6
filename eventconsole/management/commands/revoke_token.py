"""manage.py revoke_token orders, or its first twelve characters"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from eventconsole.api.tokens import revoke_tokens


class Command(BaseCommand):
    help = "Revoke an API token by its name or its first twelve characters. Takes effect within seconds."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("token", help="the name (all tokens of that name) or the first twelve characters")

    def handle(self, *args: Any, **options: Any) -> None:
        count = revoke_tokens(options["token"])
        if count == 0:
            raise CommandError(f"{options['token']!r:.40}: no such token that still works; see list_tokens")
        self.stdout.write(f"{count} revoked")
