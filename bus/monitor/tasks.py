"""What the monitor does. Each task has a thread and its own connections, opened at its first step."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from django.db import connection

from bus import conf, inbox
from bus.alerts.task import Alerting
from bus.deadletterindex import retention
from bus.deadletterindex.index import Index
from bus.kafka.admin import Admin
from bus.kafka.reader import RecordReader
from bus.monitor.control import Keeping, Mirroring
from bus.monitor.recording import Recording
from bus.monitor.replays import Following, Sending
from bus.monitor.sampling import Sampling, Surveying

TIDY_SECONDS = 60.0


class Task(Protocol):
    """Something to do again and again."""

    @property
    def name(self) -> str:
        """What it is called in log lines."""

    def step(self) -> float:
        """Do a bounded part of it; returns how many seconds to rest before the next one.

        What it raises is logged, and it is tried again after a while: as a warning if something it leans on is away
        (UnavailableError, Django's DatabaseError), as an error otherwise.
        """

    def close(self) -> None:
        """Let go of connections: another process leads, or this one ends. `step` may be called again after it."""


class Indexing:
    """Keeps the index of dead letters up with Kafka."""

    name = "index"

    def __init__(self, settings: conf.BusSettings) -> None:
        self._settings = settings
        self._open: tuple[RecordReader, Index] | None = None

    def step(self) -> float:
        if self._open is None:
            reader = RecordReader(self._settings, "dead-letter-index")
            self._open = reader, Index(reader, Admin(self._settings))
        # Nothing there: `step` itself has waited; but it doesn't wait where there are no dead letter topics yet.
        return 0.0 if self._open[1].step() else 0.05

    def close(self) -> None:
        if self._open is not None:
            self._open[0].close()
            self._open = None


class Tidying:
    """Deletes what nobody needs any more."""

    name = "tidy"

    def __init__(self, settings: conf.BusSettings, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._now = now

    def step(self) -> float:
        retention.purge(timedelta(days=self._settings.discarded_days), self._now())
        # An event can come back as long as its topic, its dead letter or its replay has it.
        hours = max(self._settings.topic_retention_hours, self._settings.dead_letter_retention_hours)
        inbox.prune(timedelta(hours=hours + self._settings.replay_retention_hours))
        return TIDY_SECONDS

    def close(self) -> None:
        connection.close()


def all_tasks(settings: conf.BusSettings) -> list[Task]:
    """Everything that the monitor does."""
    return [
        Indexing(settings),
        Sending(settings),
        Following(settings),
        Sampling(settings),
        Surveying(settings),
        Recording(settings),
        Tidying(settings),
        Mirroring(settings),
        Keeping(settings),
        Alerting(settings),
    ]
