"""`manage.py reset_offsets`: have a group go on elsewhere, and if wanted handle events again."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from bus.control.offsets.apply import Move, Reset, apply
from bus.control.offsets.plan import Plan, Target, To, plan
from bus.deadletterindex.times import moment
from bus.errors import BusError
from bus.kafka.consumer import Partition
from bus.ledger import Ledger

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Command(BaseCommand):
    help = (
        "Set a group's offsets: the plan first, then the reset, for a group without members. Events that it has "
        "handled are skipped when it reads them again, unless --handle-again says otherwise."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--group", required=True, metavar="NAME", help="a consumer group, ours or foreign")
        parser.add_argument(
            "--to", metavar="WHERE", help="earliest, latest, a time such as 2026-11-27T12:00Z, or 2h ago"
        )
        parser.add_argument(
            "--offset", action="append", default=[], metavar="TOPIC:PARTITION=N", help="instead of --to; repeatable"
        )
        parser.add_argument("--topic", action="append", default=[], metavar="NAME", help="only this topic; repeatable")
        parser.add_argument("--dry-run", action="store_true", help="say what would be reset, and change nothing")
        parser.add_argument("--handle-again", action="store_true", help="also what is handled already: a new epoch")
        parser.add_argument("--reason", default="", metavar="TEXT", help="for the audit")

    def handle(self, *args: Any, **options: Any) -> None:
        ledger = Ledger()
        try:
            made = plan(options["group"], _target(options), ledger)
            self._describe(made)
            if options["dry_run"]:
                self.stdout.write("Nothing was changed.")
                return
            moves = [Move(row.topic, row.partition, row.before, row.after) for row in made.rows]
            who = f"{getpass.getuser()} (command)"
            reset = Reset(made.group, moves, made.epoch, options["handle_again"], who, options["reason"])
            epoch = apply(reset, ledger, datetime.now(UTC))
        except BusError as error:
            raise CommandError(str(error)) from error
        again = f", in epoch {epoch}: what it has handled is handled again" if options["handle_again"] else ""
        self.stdout.write(f"{made.group} goes on at these offsets in {len(moves)} partitions{again}")

    def _describe(self, made: Plan) -> None:
        self.stdout.write(f"{'partition':40} {'before':>12} {'after':>12} {'lag before':>12} {'lag after':>12}")
        for row in made.rows:
            before = "-" if row.before is None else row.before
            name = f"{row.topic}[{row.partition}]"
            self.stdout.write(f"{name:40} {before:>12} {row.after:>12} {row.lag_before:>12} {row.lag_after:>12}")
        self.stdout.write(f"{made.again} events are read again, {made.passed} are passed over")
        if made.sample is not None:
            _, looked_at, handled, dead = made.sample
            self.stdout.write(
                f"of {looked_at} looked at, {handled} are handled already and {dead} are dead letters: these are "
                "skipped, unless --handle-again is given"
            )
        if made.note:
            self.stdout.write(made.note)


def _target(options: dict[str, Any]) -> Target:
    to, topics = options["to"], tuple(options["topic"])
    if (to is None) == (not options["offset"]):
        raise CommandError("say either --to or --offset")
    if options["offset"]:
        return Target(To.OFFSETS, offsets=dict(map(_offset, options["offset"])), topics=topics)
    if to in (To.EARLIEST, To.LATEST):
        return Target(To(to), topics=topics)
    if to[:-1].isdecimal() and to[-1] in _UNITS:
        return Target(To.TIME, datetime.now(UTC) - timedelta(seconds=int(to[:-1]) * _UNITS[to[-1]]), topics=topics)
    try:
        return Target(To.TIME, moment(to), topics=topics)
    except (ValueError, OverflowError):
        raise CommandError(
            f"--to: {to!r} given, allowed are earliest, latest, a time such as 2026-11-27T12:00Z, and 2h, 30m, 7d"
        ) from None


def _offset(text: str) -> tuple[Partition, int]:
    place, _, offset = text.rpartition("=")
    topic, _, partition = place.rpartition(":")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise CommandError(f"--offset: {text!r} given, allowed is such as order.created:0=1200")
    return (topic, int(partition)), int(offset)
