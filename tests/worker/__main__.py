"""python -m tests.worker [--crash-at POINT]… [--freeze-at POINT]… COMMAND ARGUMENT…

Runs a management command. See `accidents` for what a POINT is.
"""

from __future__ import annotations

import argparse
import os

import django
from django.core.management import execute_from_command_line

from tests.worker import accidents


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.worker")
    parser.add_argument("--crash-at", action="append", default=[], metavar="POINT")
    parser.add_argument("--freeze-at", action="append", default=[], metavar="POINT")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "eventconsole.settings")
    django.setup()
    for text in options.crash_at:
        accidents.install(accidents.Point.parse(text), accidents.kill)
    for text in options.freeze_at:
        accidents.install(accidents.Point.parse(text), accidents.freeze)
    execute_from_command_line(["manage.py", *options.command])


if __name__ == "__main__":
    main()
