"""The console looks at its own plumbing: broker, Redis, database, monitor, sampler, index, activity. In words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection

from eventconsole.live.hub import open_sockets
from eventconsole.pages.overview.answer import INDEX_BEHIND, INDEX_OLD_SECONDS, SAMPLES_OLD_SECONDS
from eventconsole.pages.overview.situation import Situation
from eventconsole.templatetags.console import counted, seconds

_ACTIVITY_OLD_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what, how it is (good, warn, bad or unknown), in words, and as of when."""

    name: str
    tone: str
    words: str
    at: datetime | None = None
    detail: str = ""

    @property
    def state(self) -> str:
        """The word beside the mark."""
        return {"good": "fine", "warn": "look", "bad": "away"}.get(self.tone, "unknown")


def checks(situation: Situation) -> list[Check]:
    """All of them, in the order in which one thing leans on another."""
    return [
        _kafka(situation),
        _redis(situation),
        _database(),
        *_monitor(situation),
        _activity(situation),
        _sockets(situation),
    ]


def _kafka(situation: Situation) -> Check:
    seen, cluster = situation.kafka, situation.cluster
    at = _moment(seen.at)
    detail = " ".join(cluster.limits) if cluster else ""
    if seen.is_away:
        return Check("Kafka", "bad", f"can't be reached: {seen.error}", at, detail)
    if cluster is None:
        words = "answers"
    elif cluster.is_embedded:
        words = "embedded: events are in memory only, and gone after a stop"
    else:
        words = f"{counted(len(cluster.brokers), 'broker')}, cluster {cluster.cluster_id or 'without an id'}"
    latency = f"; answers within {seconds(seen.value)}" if seen.value is not None else ""
    return Check("Kafka", "good", words + latency, at, detail)


def _redis(situation: Situation) -> Check:
    seen = situation.redis
    at = _moment(seen.at)
    if seen.is_away:
        return Check("Redis", "bad", f"can't be reached: {seen.error}", at)
    if situation.unfit:
        return Check("Redis", "warn", "; ".join(situation.unfit), at)
    latency = f", answers within {seconds(seen.value.latency)}" if seen.value else ""
    return Check("Redis", "good", f"fit to hold the ledger{latency}", at)


def _database() -> Check:
    # A page without the database can't be drawn at all: that this is read says that it is there.
    name = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}.get(connection.vendor, connection.vendor)
    return Check("Database", "good", f"{name} answers", datetime.now(UTC))


def _monitor(situation: Situation) -> Iterator[Check]:
    now, monitor = situation.now, situation.monitor
    if monitor is None:
        yield Check("Monitor", "bad", "never ran; start manage.py run_monitor")
    elif not situation.monitor_runs:
        yield Check("Monitor", "bad", "doesn't run; start manage.py run_monitor", monitor.expires_at)
    else:
        yield Check("Monitor", "good", f"{monitor.owner} leads", now)
    sampled = situation.sampled_at
    if sampled is None:
        yield Check("Lag", "unknown", "not sampled yet")
    else:
        is_old = (now - sampled).total_seconds() > SAMPLES_OLD_SECONDS
        words = "hasn't been sampled since" if is_old else "sampled"
        yield Check("Lag", "warn" if is_old else "good", words, sampled)
    yield _index(situation)


def _index(situation: Situation) -> Check:
    behind, at = situation.index.behind, situation.index.seen_at
    if at is None:
        return Check("Dead letter index", "unknown", "hasn't looked yet")
    is_old = (situation.now - at).total_seconds() > INDEX_OLD_SECONDS
    if is_old:
        return Check("Dead letter index", "warn", "isn't kept up", at)
    words = f"{counted(behind, 'record')} behind Kafka" if behind else "has all that Kafka has"
    return Check("Dead letter index", "warn" if behind > INDEX_BEHIND else "good", words, at)


def _activity(situation: Situation) -> Check:
    at = situation.recorded_at
    if at is None:
        return Check("Activity", "unknown", "not read yet: charts begin when the monitor reads it")
    is_old = (situation.now - at).total_seconds() > _ACTIVITY_OLD_SECONDS
    words = "isn't read, charts have a gap since" if is_old else "read into charts up to now"
    return Check("Activity", "warn" if is_old else "good", words, at)


def _sockets(situation: Situation) -> Check:
    count = open_sockets()
    words = f"{counted(count, 'page')} kept up to date by this web process" if count else "no page is open"
    return Check("Live pages", "good", words, situation.now)


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)
