"""`manage.py replay`: deliver dead letters again, with a plan, a rate, a canary, and a progress bar."""

from __future__ import annotations

import getpass
import sys
import time
from argparse import ArgumentParser
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError

from bus.deadletterindex.pages import LetterFilter
from bus.deadletterindex.times import moment_or_ago
from bus.errors import BusError
from bus.models import Replay, ReplayItem
from bus.replay import operations, report
from bus.replay.engine import Engine, live_groups
from bus.replay.plan import Choice, Plan, plan

_STEP_SECONDS = 0.02
_DRAW_SECONDS = 0.25
_WIDTH = 30
_ENDED = (Replay.State.COMPLETED, Replay.State.CANCELLED, Replay.State.STOPPED_BY_CANARY, Replay.State.PAUSED)
_FILTERS = ("topic", "group", "event_type", "fingerprint", "error_type", "key", "reason", "q")


class Command(BaseCommand):
    help = (
        "Deliver dead letters again, each to only the group that failed. Ctrl-C pauses; --follow goes on with a replay "
        "that was paused or left by its process."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--id", action="append", type=int, default=[], metavar="N", help="a dead letter; repeatable"
        )
        for name in ("topic", "group", "event-type", "fingerprint", "key", "reason"):
            parser.add_argument(f"--{name}", metavar="VALUE", help=f"those with this {name.replace('-', ' ')}")
        parser.add_argument("--error", metavar="TYPE", dest="error_type", help="those with this error type")
        parser.add_argument("--text", metavar="TEXT", dest="q", help="those whose error message has this text")
        parser.add_argument("--since", metavar="TIME", help="failed since then: 2026-01-31T10:00Z, or 2h, 30m, 7d ago")
        parser.add_argument("--until", metavar="TIME", help="failed before then")
        parser.add_argument("--all", action="store_true", help="every open dead letter")
        parser.add_argument("--dry-run", action="store_true", help="say what would be replayed, and send nothing")
        parser.add_argument("--rate", type=float, metavar="N", help="events per second (default: as fast as it goes)")
        parser.add_argument("--canary", type=int, metavar="N", help="so many first, then wait for their outcome")
        parser.add_argument("--stop-at-percent", type=float, metavar="P", help="stop when more of the canary fail (0)")
        parser.add_argument("--force", action="store_true", help="also those that were replayed three times or more")
        parser.add_argument("--all-groups", action="store_true", help="also those without a group, to all groups")
        parser.add_argument("--follow", type=int, metavar="N", help="go on with replay N instead of planning one")
        parser.add_argument("--no-wait", action="store_true", help="leave it to the monitor once it runs")

    def handle(self, *args: Any, **options: Any) -> None:
        who = f"{getpass.getuser()} (command)"
        try:
            if options["follow"] is not None:
                replay = _to_follow(options["follow"], who)
            else:
                made = plan(_choice(options), who, datetime.now(UTC), live_groups())
                self._describe(made)
                replay = made.replay
                if options["dry_run"]:
                    operations.cancel(replay.pk, who, datetime.now(UTC))
                    self.stdout.write("Nothing was sent.")
                    return
                how = {"canary": options["canary"], "stop_at_percent": options["stop_at_percent"]}
                replay = operations.run(replay.pk, who, datetime.now(UTC), rate=options["rate"], **how)
            if not options["no_wait"]:
                self._follow(replay, who)
        except BusError as error:
            raise CommandError(str(error)) from error

    def _describe(self, made: Plan) -> None:
        replay = made.replay
        self.stdout.write(f"Replay {replay.pk}: {replay.total} dead letters")
        for topic, group, count in replay.places:
            self.stdout.write(f"  {count:8}  {topic} of {group or 'no group'}")
        for warning in made.warnings:
            self.stdout.write(f"  ! {warning.text}")

    def _follow(self, replay: Replay, who: str) -> None:
        """Send, unless the monitor does, and show how far it is until every outcome is known."""
        with closing(Engine()) as engine:
            drawn = 0.0
            try:
                while True:
                    replay = engine.follow(replay.pk)
                    is_over = replay.state in _ENDED
                    if is_over or time.monotonic() - drawn >= _DRAW_SECONDS:
                        drawn = time.monotonic()
                        self._draw(replay, is_over)
                    if is_over:
                        break
                    time.sleep(_STEP_SECONDS)
            except (DatabaseError, InterfaceError) as error:
                # What is stored goes on with the monitor, or with whoever follows it next.
                raise CommandError(
                    f"the database can't be used: {error}; go on with: manage.py replay --follow {replay.pk}"
                ) from error
            except KeyboardInterrupt:
                operations.pause(replay.pk, who, datetime.now(UTC))
                raise CommandError(f"paused; go on with: manage.py replay --follow {replay.pk}") from None
        self._conclude(replay)

    def _draw(self, replay: Replay, is_over: bool) -> None:
        progress = report.progress_of(replay, datetime.now(UTC))
        is_terminal = sys.stderr.isatty()
        if not is_terminal and not is_over:
            return
        done = progress.handled + progress.failed_again + progress.skipped
        filled = _WIDTH * done // max(progress.total, 1)
        speed = f"  {progress.speed:g}/s" if progress.speed else ""
        left = f"  {progress.seconds_left:.0f} s left" if progress.seconds_left else ""
        line = (
            f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{progress.total}  sent {progress.sent}  "
            f"handled {progress.handled}  failed again {progress.failed_again}{speed}{left}  {replay.state}"
        )
        self.stderr.write(("\r\x1b[K" if is_terminal else "") + line, ending="\n" if is_over else "")
        self.stderr.flush()

    def _conclude(self, replay: Replay) -> None:
        same, other = replay.failed_again_same, replay.failed_again_other
        self.stdout.write(
            f"{replay.state}: {replay.handled} handled, {same + other} failed again ({same} with the same error, "
            f"{other} with another), {replay.skipped} skipped"
        )
        skipped = ReplayItem.objects.filter(replay=replay, state=ReplayItem.State.SKIPPED).exclude(note="")
        for note in skipped.values_list("note", flat=True).distinct().order_by()[:5]:
            self.stdout.write(f"  skipped: {note}")
        if replay.state != Replay.State.COMPLETED:
            raise CommandError(f"replay {replay.pk} is {replay.state}; manage.py replay --follow {replay.pk} goes on")


def _to_follow(replay_id: int, who: str) -> Replay:
    replay = Replay.objects.filter(pk=replay_id).first()
    if replay is None:
        raise CommandError(f"there is no replay {replay_id}")
    if replay.state in (Replay.State.PAUSED, Replay.State.STOPPED_BY_CANARY):
        return operations.resume(replay_id, who, datetime.now(UTC))
    if replay.state == Replay.State.PLANNED:
        return operations.run(replay_id, who, datetime.now(UTC))
    return replay


def _choice(options: dict[str, Any]) -> Choice:
    wanted = {name: options[name] for name in _FILTERS if options[name] is not None}
    for name in ("since", "until"):
        if options[name] is not None:
            wanted[name] = _time(name, options[name])
    if not wanted and not options["id"] and not options["all"]:
        raise CommandError("say which: --id, a filter such as --topic or --error, or --all")
    if options["id"] and (wanted or options["all"]):
        raise CommandError("say either --id or a filter")
    ids = tuple(dict.fromkeys(options["id"])) or None
    return Choice(LetterFilter(**wanted), ids, options["force"], options["all_groups"])


def _time(name: str, text: str) -> datetime:
    try:
        return moment_or_ago(text, datetime.now(UTC))
    except (ValueError, OverflowError):
        raise CommandError(f"--{name}: {text!r} given, allowed is 2026-01-31T10:00Z, or 2h, 30m, 7d") from None
