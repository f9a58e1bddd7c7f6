"""`manage.py demo_traffic`: customers who place orders, pay, and abandon carts."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser, ArgumentTypeError
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from bus import producer
from bus.handlers import registry
from eventconsole.demo.publishing import Publishing, publish_on_bus
from eventconsole.demo.traffic import Traffic

MOST_PER_SECOND = 10_000.0
CLOSE_SECONDS = 0.5


def rate(text: str) -> float:
    """Events a second."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MOST_PER_SECOND:
        raise ArgumentTypeError(
            f"{text!r} given, allowed are more than 0 and at most {MOST_PER_SECOND:g} events a second"
        )
    return value


def count(text: str) -> int:
    """A number of events."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ArgumentTypeError(f"{text!r} given, allowed are whole numbers from 1")
    return int(text)


class Command(BaseCommand):
    help = "Publish the events of the demo shop's customers, until it is stopped or --count are published."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--rate", type=rate, default=2.0, metavar="N", help="events a second (default: 2)")
        parser.add_argument("--count", type=count, metavar="N", help="stop after so many events")
        parser.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same events")

    def handle(self, *args: Any, **options: Any) -> None:
        stopping = threading.Event()

        def stop(number: int, frame: FrameType | None) -> None:
            stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        traffic = Traffic(options["seed"], groups_for=registry.groups_for)
        publishing = Publishing(traffic, publish_on_bus, rate=options["rate"], wait=stopping.wait)
        try:
            published = publishing.run(options["count"])
        finally:
            # What still waits for Kafka isn't waited for at exit: customers of a shop that is closing don't matter.
            producer.close(timeout=CLOSE_SECONDS)
        self.stdout.write(f"{published} events published")
