"""Calls that are repeated, come late or meet each other: they change what the table says, once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from bus.errors import LedgerUnavailableError
from bus.ledger import Answer, Claim, Ledger, Settlement, Status, Verdict
from tests.contract.ledger.model import HOUR_MS, Model
from tests.contract.ledger.workers import EVENT, FAILURE, GROUP, TOPIC, MakeWorker, claim, records, state

WORKERS = st.sampled_from("ab")
EVENTS = ("event-1", "event-2", "event-3")
CLAIMS = st.lists(
    st.builds(
        lambda event_id, generation, alone: Claim(event_id, GROUP, TOPIC, generation, alone),
        st.sampled_from(EVENTS),
        st.sampled_from([0, 0, 0, 1]),
        st.booleans(),
    ),
    max_size=4,
)
SETTLEMENTS = st.lists(
    st.builds(
        lambda event_id, generation, back, outcome, tries, waits: (event_id, generation, back, outcome, tries, waits),
        st.sampled_from(EVENTS),
        st.sampled_from([0, 0, 0, 1]),
        st.integers(0, 2),
        st.sampled_from([Status.PROCESSED, Status.RETRYING, Status.RETRYING, Status.FAILED, None, None]),
        st.integers(0, 1),
        st.booleans(),
    ),
    max_size=3,
    unique_by=lambda drawn: drawn[0],
)


def timeless(answer: Answer) -> Answer:
    """An answer without what depends on the clock."""
    return replace(answer, wait_ms=0)


def as_repeated(answer: Answer) -> Answer:
    """Repeating a call, its own first grant is found."""
    return replace(timeless(answer), verdict=Verdict.AGAIN if answer.verdict is Verdict.GRANTED else answer.verdict)


class AgainstTheModel(RuleBasedStateMachine):
    """Random calls of two workers, each made twice; leases end at random."""

    ledger: Ledger
    rounds = 0

    def __init__(self) -> None:
        super().__init__()
        AgainstTheModel.rounds += 1
        self.model = Model()
        self.numbers = {"a": 0, "b": 0}
        self.claimed: dict[tuple[str, str], list[int]] = {}

    def event(self, name: str) -> str:
        return f"{name}-{self.rounds}"

    def records(self) -> dict[str, bytes | None]:
        return records(self.ledger, [self.event(name) for name in EVENTS])

    def worker(self, name: str) -> str:
        return f"{name}-{self.rounds}"

    @rule(name=WORKERS, settled=SETTLEMENTS, claimed=CLAIMS)
    def call(
        self, name: str, settled: list[tuple[str, int, int, Status | None, int, bool]], claimed: list[Claim]
    ) -> None:
        worker = self.worker(name)
        self.numbers[name] += 1
        number = self.numbers[name]
        claims = [each._replace(event_id=self.event(each.event_id)) for each in claimed]
        settlements = [self._settlement(name, *drawn) for drawn in settled]
        self.ledger.heartbeat(worker, number)

        kept, answers = self.ledger.exchange(worker, number, settlements, claims)
        expected_kept, expected = self.model.exchange(worker, number, settlements, claims)

        assert kept == expected_kept
        assert [timeless(each) for each in answers] == [timeless(each) for each in expected]
        granted = set()
        for each, answer in zip(claims, answers, strict=True):
            if answer.verdict in (Verdict.GRANTED, Verdict.AGAIN):
                granted.add(each.event_id)
                self.claimed.setdefault((name, each.event_id), []).append(number)

        before = self.records()
        kept, answers = self.ledger.exchange(worker, number, settlements, claims)
        # What stood before this call's own claim can't be told any more; whether it was lost is of no use by then.
        assert kept == [
            stood or each.event_id in granted for each, stood in zip(settlements, expected_kept, strict=True)
        ]
        assert [timeless(each) for each in answers] == [as_repeated(each) for each in expected]
        assert self.records() == before

    def _settlement(
        self, name: str, event: str, generation: int, back: int, outcome: Status | None, tries: int, waits: bool
    ) -> Settlement:
        event_id = self.event(event)
        numbers = self.claimed.get((name, event_id), [0])
        number = numbers[max(0, len(numbers) - 1 - back)]
        delay_ms = HOUR_MS if waits and outcome is Status.RETRYING else 0
        history = (FAILURE,) * tries
        return Settlement(event_id, GROUP, TOPIC, generation, number, outcome, tries, 0, history, delay_ms)

    @rule(name=WORKERS)
    def lapse(self, name: str) -> None:
        self.ledger.end_lease(self.worker(name))
        self.model.alive.discard(self.worker(name))

    @precondition(lambda self: any(self.worker(name) in self.model.alive for name in "ab"))
    @rule(name=WORKERS, claimed=CLAIMS, settled=SETTLEMENTS)
    def late(
        self, name: str, claimed: list[Claim], settled: list[tuple[str, int, int, Status | None, int, bool]]
    ) -> None:
        if self.worker(name) not in self.model.alive:
            return
        claims = [Claim(self.event("event-1"), GROUP, TOPIC), *claimed]
        settlements = [self._settlement(name, *drawn) for drawn in settled]
        before = self.records()
        with pytest.raises(LedgerUnavailableError, match="older than its newest"):
            self.ledger.exchange(self.worker(name), self.numbers[name] - 1, settlements, claims)
        assert self.records() == before

    @invariant()
    def statuses_agree(self) -> None:
        for name in EVENTS:
            event_id = self.event(name)
            entry = self.model.entries.get(event_id)
            found = self.ledger.status(event_id, [GROUP])
            if entry is None:
                assert found is None
                continue
            assert found is not None
            [group] = found.groups
            assert (group.status, group.generation, group.attempts) == (entry.status, entry.generation, entry.history)
            assert group.worker == (entry.worker if entry.status is Status.PROCESSING else None)


def test_random_calls_each_made_twice_agree_with_the_model(ledger: Ledger) -> None:
    class Machine(AgainstTheModel):
        pass

    Machine.ledger = ledger
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=200,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # Shrinking a failure takes minutes, which the test's time-out would cut off before anything is shown.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )


def test_two_copies_of_an_event_in_one_batch_are_granted_once(worker: MakeWorker) -> None:
    a = worker("a")
    _, answers = a.call((), [claim(), claim("other"), claim()])
    assert answers == [
        Answer(Verdict.GRANTED, 1),
        Answer(Verdict.GRANTED, 1),
        Answer(Verdict.BUSY, 1, wait_ms=50, owner="a"),
    ]


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Status.PROCESSED, Verdict.DONE),
        (Status.FAILED, Verdict.FAILED),
        (Status.RETRYING, Verdict.AGAIN),
        (None, Verdict.GRANTED),
    ],
)
def test_a_claim_sees_the_settlement_of_the_same_call(
    outcome: Status | None, verdict: Verdict, worker: MakeWorker
) -> None:
    a = worker("a")
    a.claim()
    kept, [answer] = a.call([a.outcome(outcome)], [claim()])
    assert (kept, answer.verdict) == ([True], verdict)

    # The answer was lost and the client sends the call again: the claim that followed must not make the outcome lost.
    kept, [answer] = a.repeat([a.outcome(outcome)], [claim()])
    assert kept == [True]
    assert answer.verdict is (Verdict.AGAIN if verdict is Verdict.GRANTED else verdict)


def test_a_repeated_settlement_of_an_older_generation_stands_beside_the_claim_of_a_newer(worker: MakeWorker) -> None:
    a = worker("a")
    a.claim()
    settlements, claims = [a.outcome(Status.PROCESSED)], [claim(generation=1)]
    assert a.call(settlements, claims)[0] == [True]
    assert a.repeat(settlements, claims)[0] == [True]


def test_a_call_that_arrives_late_changes_nothing(worker: MakeWorker, ledger: Ledger) -> None:
    a, b = worker("a"), worker("b")
    a.claim()
    late = [a.outcome(Status.PROCESSED)]
    a.number = 10
    a.settle(Status.RETRYING)
    for settlements, claims in ((late, []), ([], [claim()])):
        with pytest.raises(LedgerUnavailableError, match="call 9 of worker a is older than its newest one"):
            ledger.exchange("a", 9, settlements, claims)
    assert state(ledger) == (Status.RETRYING, 0, None)
    assert b.claim().verdict is Verdict.AGAIN


def test_a_late_heartbeat_is_ignored(worker: MakeWorker, ledger: Ledger) -> None:
    a = worker("a")
    a.number = 5
    a.claim()
    ledger.heartbeat("a", 3)
    assert a.settle(Status.PROCESSED)


def test_numbers_may_be_large(worker: MakeWorker, ledger: Ledger) -> None:
    a, b = worker("a"), worker("b")
    a.number = 2**53 - 10
    a.claim()
    assert b.claim().verdict is Verdict.BUSY
    assert a.settle(None)
    a.claim()
    assert a.settle(Status.PROCESSED)
    with pytest.raises(LedgerUnavailableError):
        ledger.exchange("a", 2**53 - 10, [], [claim()])
    assert b.claim().verdict is Verdict.DONE


def test_ten_thousand_events_fit_into_one_call(worker: MakeWorker) -> None:
    a = worker("a")
    ids = [f"event-{number}" for number in range(10_000)]
    _, answers = a.call((), [claim(each) for each in ids])
    assert {answer.verdict for answer in answers} == {Verdict.GRANTED}
    a.claimed = a.number
    kept, _ = a.call([a.outcome(Status.PROCESSED, each) for each in ids])
    assert kept == [True] * len(ids)


def test_an_empty_call_is_answered(worker: MakeWorker) -> None:
    assert worker("a").call() == ([], [])


def test_events_answer_in_the_order_they_were_given(worker: MakeWorker) -> None:
    a, b = worker("a"), worker("b")
    ids = [f"event-{number}" for number in range(60)]
    for third, outcome in enumerate([Status.PROCESSED, Status.FAILED]):
        for each in ids[third::3]:
            b.claim(each)
            b.settle(outcome, each)
    _, answers = a.call((), [claim(each) for each in ids])
    assert [each.verdict for each in answers] == [Verdict.DONE, Verdict.FAILED, Verdict.GRANTED] * 20
    a.claimed = a.number
    kept, _ = a.call([a.outcome(Status.RETRYING, each) for each in ids])
    assert kept == [False, False, True] * 20
    assert EVENT in ids
