"""Suspects: events that were in the hands of a worker that died run alone in the process, all its groups included."""

from __future__ import annotations

import pytest

from bus.ledger import Status
from tests.unit.dispatch_stage import (
    P0,
    P1,
    MemoryLedger,
    Stage,
    come_back,
    events_given_in,
    fail_for_good,
    hang,
    stage,
)


def two_groups() -> tuple[Stage, Stage]:
    """Dispatchers of two groups in one process. Both have the same clock."""
    first = stage(P0)
    second = stage(P0, ledger=MemoryLedger(first.clock), pool=first.pool)
    return first, second


def test_nothing_runs_beside_a_suspect_while_other_answers_come_in() -> None:
    its = stage(P0, P1)
    its.does["dead"] = fail_for_good
    its.read(P1, (0, None, "dead"))
    its.round()
    its.perform()
    its.round()  # its dead letter is on the way
    its.ledger.foreign("suspect", alive=False)
    its.read(P0, (0, None, "suspect"))
    its.round(4)
    assert [work.event_id for job in its.pool.waiting for work in job.works] == ["suspect"]
    assert its.ledger.entries["suspect"].alone

    its.read(P0, (1, None, "next"))
    its.outbox.sent[0].acknowledge()
    its.round(4)

    assert its.status("dead") is Status.FAILED
    assert [work.event_id for job in its.pool.waiting for work in job.works] == ["suspect"]
    its.settle()
    assert its.handled == ["dead", "suspect", "next"]


def test_other_groups_of_the_process_fall_silent_for_a_suspect() -> None:
    suspicious, other = two_groups()
    other.read(P0, (0, "a", "a"))
    other.round()
    busy = hang(other)
    suspicious.ledger.foreign("suspect", alive=False)
    suspicious.read(P0, (0, "key", "suspect"))
    suspicious.round(4)
    assert not suspicious.pool.waiting  # the other group's handler runs

    other.read(P0, (1, "b", "b"))
    other.round(4)
    assert not suspicious.pool.waiting  # and it begins nothing more
    come_back(other, busy)
    other.round(2)
    suspicious.round(4)
    assert events_given_in(suspicious) == ["suspect"]
    other.round(4)
    assert events_given_in(other) == ["suspect"]

    suspicious.perform()
    suspicious.round(2)
    other.round(2)
    other.perform()
    assert (suspicious.handled, other.handled) == (["suspect"], ["a", "b"])


@pytest.mark.parametrize("gone", ["revoked", "draining"])
def test_a_suspect_that_goes_before_it_ran_lets_the_others_go_on(gone: str) -> None:
    suspicious, other = two_groups()
    suspicious.ledger.foreign("suspect", alive=False)
    suspicious.read(P0, (0, "key", "suspect"))
    suspicious.round(2)  # it waits, or is being marked
    other.read(P0, (0, "a", "a"))
    other.round(2)
    assert not other.handled

    if gone == "revoked":
        suspicious.revoke(P0)
    else:
        suspicious.dispatcher.drain()
    suspicious.settle()
    other.settle()

    assert other.handled == ["a"]
    assert not suspicious.handled
    assert suspicious.ledger.entries["suspect"].suspect
    assert suspicious.status("suspect") is Status.RETRYING


def test_a_suspect_that_hangs_lets_the_others_go_on_in_the_end() -> None:
    suspicious, other = two_groups()
    suspicious.ledger.foreign("suspect", alive=False)
    suspicious.read(P0, (0, "key", "suspect"))
    suspicious.round(4)
    hang(suspicious)
    other.read(P0, (0, "a", "a"))
    other.settle()
    assert not other.handled

    suspicious.clock.now += suspicious.dispatcher.settings.stuck_seconds + 1
    suspicious.round(2)
    other.settle()

    assert other.handled == ["a"]
