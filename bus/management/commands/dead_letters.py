"""`manage.py dead_letters`: list dead letters, the last failed first."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError

from bus.deadletterindex.documents import letter_document
from bus.deadletterindex.index import progress_of
from bus.deadletterindex.pages import MAX_PAGE, LetterFilter, letter_page
from bus.deadletterindex.times import moment_or_ago
from bus.models import DeadLetter, LetterStatus

_STATUSES = [status.value for status in LetterStatus]


class Command(BaseCommand):
    help = "List dead letters, the last failed first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--topic", metavar="NAME", help="only of this topic")
        parser.add_argument("--group", metavar="NAME", help="only of this consumer group")
        parser.add_argument("--error", metavar="TYPE", help="only with this error type")
        parser.add_argument(
            "--since", metavar="WHEN", help="only failed since then: 2026-11-24T12:00:00Z, or 15m, 2h, 7d ago"
        )
        parser.add_argument("--status", choices=_STATUSES, help="only in this status")
        parser.add_argument("--limit", type=int, default=50, metavar="N", help="so many at most (default 50; 0: all)")
        parser.add_argument("--json", action="store_true", help="a JSON object per line")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["limit"] < 0:
            raise CommandError(f"--limit is {options['limit']}, allowed is 0 or more")
        wanted = LetterFilter(
            topic=options["topic"],
            group=options["group"],
            error_type=options["error"],
            status=options["status"],
            since=_since(options["since"]),
        )
        shown = self._list(wanted, options["limit"], as_json=options["json"])
        if not options["json"] and options["verbosity"]:
            self._say_how_far(shown, options["limit"])

    def _list(self, wanted: LetterFilter, limit: int, *, as_json: bool) -> int:
        shown, cursor = 0, None
        while True:
            page = letter_page(wanted, min(MAX_PAGE, limit - shown) if limit else MAX_PAGE, cursor)
            for letter in page.rows:
                self.stdout.write(orjson.dumps(letter_document(letter)).decode() if as_json else _line(letter))
            shown, cursor = shown + len(page.rows), page.next
            if cursor is None or (limit and shown >= limit):
                return shown

    def _say_how_far(self, shown: int, limit: int) -> None:
        progress = progress_of()
        if limit and shown >= limit:
            self.stdout.write(f"{shown} shown; --limit shows more")
        elif not shown:
            self.stdout.write("no dead letters fit")
        if progress.seen_at is None:
            self.stdout.write("nothing is indexed yet: start manage.py run_monitor")
        elif progress.behind:
            self.stdout.write(f"the index is {progress.behind} records behind Kafka")


def _line(letter: DeadLetter) -> str:
    error = f"{letter.error_type}: {letter.error_message}".removeprefix(": ").replace("\n", " ")
    at = letter.last_failed_at.strftime("%Y-%m-%d %H:%M:%S")
    return f"{letter.pk:>8}  {at}  {letter.status:10} {letter.topic:28} {letter.group or '-':30} {error:.80}"


def _since(given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        return moment_or_ago(given, datetime.now(UTC))
    except (ValueError, OverflowError) as error:
        raise CommandError(
            f"--since is {given!r}, allowed is a time such as 2026-11-24T12:00:00Z, or 15m, 2h, 7d"
        ) from error
