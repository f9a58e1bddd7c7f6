"""The activity stream on every kind of Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from bus.activity import ActivityLog, ActivityStream, Transition
from bus.errors import LedgerUnavailableError
from bus.ledger import Ledger
from tests.contract.ledger.conftest import close
from tests.contract.ledger.workers import ledger_at
from tests.redis_server import RedisAddress, RedisServer

TOPIC, GROUP = "order.created", "billing"


@pytest.fixture
def ledger(any_redis: RedisAddress) -> Iterator[Ledger]:
    ledger = ledger_at(any_redis, activity_bytes=1024 * 1024)
    yield ledger
    close(ledger)


def quiet(ledger: Ledger, by: str = "worker-1") -> ActivityLog:
    """A log that writes when it is told to."""
    return ActivityLog(ledger, by, patience=600.0)


def write(log: ActivityLog, outcome: str, **more: str) -> Transition:
    """Append an entry with one transition."""
    transition = Transition(1, outcome, "event-1", TOPIC, GROUP, **more)  # type: ignore[arg-type]
    log.count(TOPIC, GROUP, outcome, ms=20)
    log.keep(transition)
    assert log.flush()
    return transition


def test_what_one_process_appends_another_reads_in_order(ledger: Ledger) -> None:
    stream = ActivityStream(ledger)
    assert stream.latest_id() == "0-0"
    assert stream.read("0-0") == []
    log, other = quiet(ledger), quiet(ledger, "worker-2")
    first = write(log, "processed")
    newest = stream.latest_id()
    second = write(other, "failed", error="ValueError: no")

    entries = stream.read("0-0")
    assert [(each.by, each.transitions) for each in entries] == [("worker-1", [first]), ("worker-2", [second])]
    assert entries[0].counts == [(TOPIC, GROUP, "processed", 1)]
    assert entries[0].durations == [(TOPIC, GROUP, {18: 1})]
    assert stream.read(newest) == entries[1:]
    assert stream.read("0-0", count=1) == entries[:1]
    assert stream.recent(1) == entries[1:]
    assert stream.read(stream.latest_id()) == []


def test_a_reader_waits_for_what_comes_next(ledger: Ledger) -> None:
    stream, log = ActivityStream(ledger), ActivityLog(ledger, "worker-1")
    write(quiet(ledger), "processed")
    after = stream.latest_id()
    began = time.monotonic()
    assert stream.read(after, block_ms=1200) == []
    assert time.monotonic() - began >= 1.1
    log.count(TOPIC, GROUP, "failed")
    log.keep(Transition(1, "failed", "event-1", TOPIC, GROUP))  # written by the log's own thread in a moment
    assert [each.counts for each in stream.read(after, block_ms=10_000)] == [[(TOPIC, GROUP, "failed", 1)]]
    log.close()


def test_the_stream_stays_within_its_memory(ledger: Ledger) -> None:
    log, stream = quiet(ledger), ActivityStream(ledger)
    for _ in range(600):
        for number in range(120):
            log.count(TOPIC, GROUP, "processed")
            log.keep(Transition(number, "processed", f"{hash(str(number))}", TOPIC, GROUP, correlation_id=f"{id(log)}"))
        log.flush()
    log.close()

    assert 100 < ledger.client.xlen("bus:activity") < 600
    assert ledger.client.memory_usage("bus:activity") < 2 * 1024 * 1024
    assert len(stream.recent(1)[0].transitions) == 120


def test_a_redis_that_is_away_is_told_to_readers_and_not_to_those_who_count(stoppable_redis: RedisServer) -> None:
    ledger = ledger_at(RedisAddress(stoppable_redis.url))
    log, stream = quiet(ledger), ActivityStream(ledger)
    write(log, "processed")
    stoppable_redis.stop()
    with pytest.raises(LedgerUnavailableError):
        stream.read("0-0")
    with pytest.raises(LedgerUnavailableError):
        stream.latest_id()
    log.count(TOPIC, GROUP, "failed")
    assert not log.flush()

    stoppable_redis.start()
    transition = write(log, "retrying")
    log.close()
    assert stream.recent()[-1].transitions == [transition]
    close(ledger)
