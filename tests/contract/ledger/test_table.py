"""The table in the docstring of `bus.ledger`: every row against every column, with exact answers. Promise 3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bus.ledger import Answer, Ledger, Status, Verdict
from tests.contract.ledger.workers import FAILURE, MINUTE_MS, MakeWorker, Worker, state

PROCESSED, RETRYING, FAILED = Status.PROCESSED, Status.RETRYING, Status.FAILED
OUTCOMES = (PROCESSED, RETRYING, FAILED, None)
State = tuple[Status, int, str | None]

# -- rows: how worker a, who claims and settles below, and b bring the record about --------------------------------


def nothing(a: Worker, b: Worker) -> None:
    a.claimed = a.number = 1


def own(a: Worker, b: Worker) -> None:
    a.claim()


def own_lapsed(a: Worker, b: Worker) -> None:
    a.claim()
    a.dies()


def own_claimed_anew(a: Worker, b: Worker) -> None:
    first = a.claim().number
    a.claim()
    a.claimed = first


def foreign(a: Worker, b: Worker) -> None:
    own_lapsed(a, b)
    b.claim()


def foreign_lapsed(a: Worker, b: Worker) -> None:
    foreign(a, b)
    b.dies()


def waiting(a: Worker, b: Worker) -> None:
    foreign(a, b)
    assert b.settle(RETRYING, delay_ms=MINUTE_MS, history=(FAILURE,), crashes=1)


def due(a: Worker, b: Worker) -> None:
    foreign(a, b)
    assert b.settle(RETRYING, delay_ms=0, history=(FAILURE,), crashes=1)


def done(a: Worker, b: Worker) -> None:
    foreign(a, b)
    assert b.settle(PROCESSED)


def failed(a: Worker, b: Worker) -> None:
    foreign(a, b)
    assert b.settle(FAILED)


def own_waiting(a: Worker, b: Worker) -> None:
    own(a, b)
    assert a.settle(RETRYING, delay_ms=MINUTE_MS, history=(FAILURE,), crashes=1)


def own_done(a: Worker, b: Worker) -> None:
    own(a, b)
    assert a.settle(PROCESSED)


def own_failed(a: Worker, b: Worker) -> None:
    own(a, b)
    assert a.settle(FAILED)


Row = Callable[[Worker, Worker], None]
NEW = Answer(Verdict.GRANTED, 0)
AGAIN = Answer(Verdict.AGAIN, 0)
SUSPECT = Answer(Verdict.AGAIN, 0, suspect=True)
BUSY = Answer(Verdict.BUSY, 0, owner="b")
RETRY = Answer(Verdict.AGAIN, 0, attempts=1, crashes=1, history=(FAILURE,))
WAIT = Answer(Verdict.WAIT, 0, attempts=1, crashes=1, history=(FAILURE,))
DONE = Answer(Verdict.DONE, 0)
DEAD = Answer(Verdict.FAILED, 0)

CLAIMS: dict[Row, Answer] = {
    nothing: NEW,
    own: AGAIN,
    own_lapsed: AGAIN,
    own_claimed_anew: AGAIN,
    foreign: BUSY,
    foreign_lapsed: SUSPECT,
    waiting: WAIT,
    due: RETRY,
    done: DONE,
    failed: DEAD,
    own_waiting: WAIT,
    own_done: DONE,
    own_failed: DEAD,
}
"""What a claim is told. `number` and `wait_ms` are left out here."""

ALL = (True, True, True, True)
HANDLED_ONLY = (True, False, False, True)
SETTLEMENTS: dict[Row, tuple[bool, bool, bool, bool]] = {
    nothing: ALL,
    own: ALL,
    own_lapsed: ALL,
    own_claimed_anew: HANDLED_ONLY,
    foreign: HANDLED_ONLY,
    foreign_lapsed: HANDLED_ONLY,
    waiting: HANDLED_ONLY,
    due: HANDLED_ONLY,
    done: HANDLED_ONLY,
    failed: (False, False, False, True),
    own_waiting: (True, True, False, True),
    own_done: HANDLED_ONLY,
    own_failed: (False, False, True, True),
}
"""Whether PROCESSED, RETRYING, FAILED and giving back stand."""

A_HAS: tuple[State | None, ...] = ((PROCESSED, 0, None), (RETRYING, 0, None), (FAILED, 0, None), None)


def stays(*there: State) -> tuple[State | None, ...]:
    return there * 4


def handled_or(*there: State) -> tuple[State | None, ...]:
    return ((PROCESSED, 0, None), *(there * 3))


AFTER: dict[Row, tuple[State | None, ...]] = {
    nothing: A_HAS,
    own: A_HAS,
    own_lapsed: A_HAS,
    own_claimed_anew: handled_or((Status.PROCESSING, 0, "a")),
    foreign: handled_or((Status.PROCESSING, 0, "b")),
    foreign_lapsed: handled_or((Status.PROCESSING, 0, "b")),
    waiting: handled_or((RETRYING, 0, None)),
    due: handled_or((RETRYING, 0, None)),
    done: stays((PROCESSED, 0, None)),
    failed: stays((FAILED, 0, None)),
    own_waiting: handled_or((RETRYING, 0, None)),
    own_done: stays((PROCESSED, 0, None)),
    own_failed: stays((FAILED, 0, None)),
}
"""What the record is after each of the four."""


@pytest.mark.parametrize("row", CLAIMS, ids=lambda row: row.__name__)
def test_a_claim_is_told_what_the_table_says(row: Row, worker: MakeWorker, ledger: Ledger) -> None:
    a, b = worker("a"), worker("b")
    row(a, b)
    before = state(ledger)

    answer = a.claim()

    assert replace(answer, number=0, wait_ms=0) == CLAIMS[row]
    assert answer.number == a.number
    longest = {Verdict.BUSY: 30_000, Verdict.WAIT: MINUTE_MS}.get(answer.verdict, 0)
    assert longest - 5_000 <= answer.wait_ms <= longest or answer.wait_ms == longest == 0
    granted = answer.verdict in (Verdict.GRANTED, Verdict.AGAIN)
    assert state(ledger) == ((Status.PROCESSING, 0, "a") if granted else before)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("row", SETTLEMENTS, ids=lambda row: row.__name__)
def test_a_settlement_comes_to_what_the_table_says(
    row: Row, outcome: Status | None, worker: MakeWorker, ledger: Ledger
) -> None:
    a, b = worker("a"), worker("b")
    row(a, b)
    column = OUTCOMES.index(outcome)

    assert a.settle(outcome, delay_ms=MINUTE_MS) is SETTLEMENTS[row][column]

    assert state(ledger) == AFTER[row][column]


@pytest.mark.parametrize("before", [Status.PROCESSING, PROCESSED, RETRYING, FAILED])
def test_a_replay_overrides_what_became_of_the_older_generation(
    before: Status, worker: MakeWorker, ledger: Ledger
) -> None:
    a, b = worker("a"), worker("b")
    b.claim(alone=True)
    if before is not Status.PROCESSING:
        b.settle(before, attempts=4, crashes=1, delay_ms=MINUTE_MS, history=(FAILURE,))

    assert a.claim(generation=1) == Answer(Verdict.GRANTED, a.number)

    assert state(ledger) == (Status.PROCESSING, 1, "a")


@pytest.mark.parametrize("now", [Status.PROCESSING, PROCESSED, RETRYING, FAILED])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_older_generation_is_done_and_its_outcome_lost(
    now: Status, outcome: Status | None, worker: MakeWorker, ledger: Ledger
) -> None:
    a, b = worker("a"), worker("b")
    a.claim()
    b.claim(generation=1)
    if now is not Status.PROCESSING:
        b.settle(now, generation=1, delay_ms=MINUTE_MS)
    before = state(ledger)

    assert a.settle(outcome) is (outcome is None)
    assert a.claim().verdict is Verdict.DONE

    assert state(ledger) == before


@pytest.mark.parametrize("outcome", [PROCESSED, RETRYING, FAILED])
@pytest.mark.parametrize("before", [PROCESSED, RETRYING, FAILED])
def test_the_outcome_of_a_replay_is_written_though_redis_lost_its_claim(
    before: Status, outcome: Status, worker: MakeWorker, ledger: Ledger
) -> None:
    a, b = worker("a"), worker("b")
    b.claim()
    b.settle(before)
    a.claimed = a.number = 1

    assert a.settle(outcome, generation=1)

    assert state(ledger) == (outcome, 1, None)


def test_a_replay_that_is_given_back_leaves_its_generation(worker: MakeWorker) -> None:
    a, b = worker("a"), worker("b")
    a.claim()
    a.settle(FAILED)
    a.claim(generation=1)

    assert a.settle(None, generation=1)

    # Were the record gone, a second delivery of the original would be handled as if it were new.
    assert b.claim().verdict is Verdict.DONE
    assert b.claim(generation=1).verdict is Verdict.AGAIN
