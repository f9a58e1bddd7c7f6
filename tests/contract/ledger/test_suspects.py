"""Promise 6: what a dead worker had is suspect, runs alone, and only a death while alone counts."""

from __future__ import annotations

import pytest

from bus.ledger import Answer, Ledger, Settlement, Status, Verdict
from tests.contract.ledger.workers import EVENT, FAILURE, MakeWorker, claim, state


def test_a_death_while_others_ran_beside_makes_suspect_and_counts_nothing(worker: MakeWorker) -> None:
    a, b, c = worker("a"), worker("b"), worker("c")
    a.claim()
    a.dies()
    assert b.claim() == Answer(Verdict.AGAIN, 1, suspect=True)
    b.dies()
    assert c.claim() == Answer(Verdict.AGAIN, 1, suspect=True)


def test_each_death_while_alone_counts(worker: MakeWorker) -> None:
    a, b, c, d = (worker(name) for name in "abcd")
    a.claim()
    a.dies()
    b.claim()
    assert b.claim(alone=True) == Answer(Verdict.AGAIN, 2, suspect=True)
    b.dies()
    assert c.claim() == Answer(Verdict.AGAIN, 1, crashes=1, suspect=True)
    c.claim(alone=True)
    c.dies()
    assert d.claim() == Answer(Verdict.AGAIN, 1, crashes=2, suspect=True)


def test_a_death_counts_once_though_two_take_over_and_calls_are_repeated(worker: MakeWorker) -> None:
    a, b, c = worker("a"), worker("b"), worker("c")
    a.claim(alone=True)
    a.dies()
    b.claim()
    _, [again] = b.repeat((), [claim()])
    assert again == Answer(Verdict.AGAIN, 1, crashes=1, suspect=True)
    b.dies()
    assert c.claim() == Answer(Verdict.AGAIN, 1, crashes=1, suspect=True)


def test_alone_is_kept_when_the_same_worker_claims_anew(worker: MakeWorker) -> None:
    a, b = worker("a"), worker("b")
    a.claim(alone=True)
    a.claim()
    a.dies()
    assert b.claim().crashes == 1


def test_a_worker_that_comes_back_to_its_own_events_has_not_died(worker: MakeWorker) -> None:
    a = worker("a")
    a.claim(alone=True)
    a.dies()
    assert a.claim() == Answer(Verdict.AGAIN, 2)


def test_giving_back_keeps_suspicion_and_crashes_and_ends_being_alone(worker: MakeWorker, ledger: Ledger) -> None:
    a, b, c, d = (worker(name) for name in "abcd")
    a.claim(alone=True)
    a.dies()
    b.claim(alone=True)
    assert b.settle(None)
    assert state(ledger) == (Status.RETRYING, 0, None)
    assert c.claim() == Answer(Verdict.AGAIN, 1, crashes=1, suspect=True)
    c.dies()
    assert d.claim().crashes == 1


def test_giving_back_counts_no_attempt(worker: MakeWorker) -> None:
    a, b = worker("a"), worker("b")
    a.claim()
    a.settle(Status.RETRYING, attempts=2, history=(FAILURE,))
    a.claim()
    a.settle(None)
    assert b.claim() == Answer(Verdict.AGAIN, 1, attempts=2, history=(FAILURE,))


def test_a_failure_clears_suspicion_and_keeps_the_crashes(worker: MakeWorker) -> None:
    a, b = worker("a"), worker("b")
    a.claim(alone=True)
    a.dies()
    crashes = b.claim(alone=True).crashes
    b.settle(Status.RETRYING, crashes=crashes, history=(FAILURE,))
    assert b.claim() == Answer(Verdict.AGAIN, 3, attempts=1, crashes=1, history=(FAILURE,))


def test_a_replay_begins_without_crashes(worker: MakeWorker) -> None:
    a, b = worker("a"), worker("b")
    a.claim(alone=True)
    a.dies()
    b.claim(alone=True)
    b.settle(Status.FAILED, crashes=2)
    assert b.claim(generation=1) == Answer(Verdict.GRANTED, 3)


def test_one_lease_is_that_of_all_events_of_its_worker(worker: MakeWorker) -> None:
    a, b = worker("a"), worker("b")
    ids = [f"event-{number}" for number in range(100)]
    a.call((), [claim(each) for each in ids[:50]])
    a.call((), [claim(each) for each in ids[50:]])
    _, busy = b.call((), [claim(each) for each in ids])
    assert [answer.verdict for answer in busy] == [Verdict.BUSY] * 100
    a.dies()
    _, free = b.call((), [claim(each) for each in ids])
    assert free == [Answer(Verdict.AGAIN, 2, suspect=True)] * 100


def test_an_event_claimed_while_others_were_forgotten_is_not_taken_over(worker: MakeWorker) -> None:
    a, b = worker("a"), worker("b")
    a.claim("lost")
    a.dies()
    a.claim("kept")
    answers = b.call((), [claim("lost"), claim("kept")])[1]
    assert answers[1].verdict is Verdict.BUSY


def test_a_heartbeat_keeps_every_event_of_the_worker(worker: MakeWorker, ledger: Ledger) -> None:
    a, b = worker("a"), worker("b")
    ids = [f"event-{number}" for number in range(50)]
    a.call((), [claim(each) for each in ids])
    a.dies()
    ledger.heartbeat("a", 2)
    _, answers = b.call((), [claim(each) for each in ids])
    assert {answer.verdict for answer in answers} == {Verdict.BUSY}
    assert {answer.owner for answer in answers} == {"a"}


def test_a_takeover_learns_that_the_event_was_handled(worker: MakeWorker, ledger: Ledger) -> None:
    a, b = worker("a"), worker("b")
    a.claim()
    a.dies()
    b.claim()
    assert a.settle(Status.PROCESSED)
    assert b.settle(Status.RETRYING) is False
    assert b.settle(Status.FAILED) is False
    assert b.settle(Status.PROCESSED) is True
    assert state(ledger) == (Status.PROCESSED, 0, None)


@pytest.mark.parametrize("outcome", [Status.PROCESSED, Status.RETRYING, Status.FAILED])
def test_two_generations_of_an_event_settled_in_one_call_leave_the_newer(
    outcome: Status, worker: MakeWorker, ledger: Ledger
) -> None:
    a = worker("a")
    a.claimed = a.number = 1  # Redis has lost both claims
    both: list[Settlement] = [a.outcome(Status.PROCESSED, generation=1), a.outcome(outcome, generation=0)]
    assert a.call(both)[0] == [True, False]
    assert state(ledger, EVENT) == (Status.PROCESSED, 1, None)
