"""`manage.py create_topics`: create the catalog's topics, and say what differs from the settings."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from bus.errors import BusError
from bus.kafka.admin import Admin, TopicReport, TopicSpec, specs


class Command(BaseCommand):
    help = (
        "Create the topics of the catalog, the dead letter topic of each and the replay topic of each group. What is "
        "there is compared with the settings and never changed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would be created, and create nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            admin = Admin()
            reports = _foresee(admin, specs()) if options["dry_run"] else admin.create_topics(specs())
        except BusError as error:
            raise CommandError(str(error)) from error
        outcomes = [_outcome(report) for report in reports]
        if options["verbosity"]:
            for report, outcome in zip(reports, outcomes, strict=True):
                if outcome == "exists" and options["verbosity"] < 2:
                    continue
                detail = f" ({'; '.join(report.differs)})" if report.differs else ""
                self.stdout.write(f"{outcome:12} {report.name}{detail}")
            counts = Counter(outcomes)
            self.stdout.write(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
            if counts["differs"]:
                self.stdout.write(
                    "Topics are never changed here: use kafka-configs and kafka-topics for those that differ."
                )
        if failed := [report for report in reports if report.outcome == "failed"]:
            raise CommandError(
                f"{len(failed)} topics could not be created; the first: {failed[0].name}: {failed[0].differs[0]}"
            )


def _foresee(admin: Admin, wanted: list[TopicSpec]) -> list[TopicReport]:
    existing = admin.topics()
    # Asked for what exists already, it only compares.
    compared = {each.name: each for each in admin.create_topics([spec for spec in wanted if spec.name in existing])}
    return [compared.get(spec.name) or TopicReport(spec.name, "would create") for spec in wanted]


def _outcome(report: TopicReport) -> str:
    return "differs" if report.outcome == "exists" and report.differs else report.outcome
