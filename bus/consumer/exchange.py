"""One dispatcher's conversation with the ledger: settlements and claims, together, one call at a time.

A call that fails is repeated as it was, with its number, until Redis has answered: the ledger knows by the number what
it has done already. Nothing else is asked meanwhile, so that calls never overtake each other.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from bus.consumer.executor import Outcome
from bus.consumer.work import Work
from bus.errors import LedgerUnavailableError
from bus.ledger import Answer, Claim, Ledger, Settlement, Status, Verdict

log = logging.getLogger("bus.consumer")

MOST_SETTLEMENTS = 1000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
# The newest attempts of an event that its record in the ledger keeps.
_MOST_ATTEMPTS = 20
_MOST_REMEMBERED = 10_000


class Settled(NamedTuple):
    """A settlement that Redis has answered. Not `kept`: another worker owns the event by now."""

    work: Work
    settlement: Settlement
    kept: bool


class Reply(NamedTuple):
    """The answer to one call."""

    settled: list[Settled]
    answers: list[Answer]


class _Call(NamedTuple):
    number: int
    settlements: list[tuple[Work, Settlement]]
    claims: list[Claim]


class Exchange:
    """Numbers, repeats and paces the calls of one lease. Used by one thread."""

    def __init__(
        self, ledger: Ledger, group: str, lease: str, *, goes_on_without: bool, clock: Callable[[], float]
    ) -> None:
        self.lease = lease
        #: The group's name in the ledger.
        self.group = group
        self._ledger = ledger
        self._goes_on_without = goes_on_without
        self._clock = clock
        self._number = 0
        self._waiting: deque[tuple[Work, Settlement]] = deque()
        self._call: _Call | None = None
        self._not_before = 0.0
        self._pause = _FIRST_PAUSE
        self._last_beat = float("-inf")
        # Attempts that Redis may never hear of: only while going on without it.
        self._past: dict[tuple[str, int], Settlement] = {}
        self.is_away = False

    @property
    def is_free(self) -> bool:
        """Whether new claims may be asked: no call waits for its answer."""
        return self._call is None

    @property
    def unsettled(self) -> int:
        """Settlements that Redis hasn't answered."""
        return len(self._waiting) + (len(self._call.settlements) if self._call else 0)

    def unanswered(self) -> Iterator[Work]:
        """Events whose outcome Redis hasn't noted."""
        if self._call is not None:
            yield from (work for work, _ in self._call.settlements)
        yield from (work for work, _ in self._waiting)

    @property
    def is_behind(self) -> bool:
        """Whether more waits to be settled than one call takes. An event claimed before its last outcome is settled
        would be granted once more."""
        return len(self._waiting) > MOST_SETTLEMENTS

    @property
    def next_try(self) -> float | None:
        """When to call `perform` again though nothing happened; None: no need."""
        return self._not_before if self._call else None

    def settle(self, work: Work, status: Status, outcome: Outcome, attempts: int) -> None:
        """Have an outcome recorded with the next call."""
        answer, attempt = work.answer, outcome.attempt
        history = answer.history if attempt is None else (*answer.history, attempt)[-_MOST_ATTEMPTS:]
        self._queue(work, answer.number, status, attempts, answer.crashes, history, int(outcome.seconds * 1000))

    def give_back(self, work: Work) -> None:
        """What was claimed and didn't run is free again, for us or for whoever has the partition next."""
        self._queue(work, work.answer.number, None)

    def _queue(self, work: Work, number: int, status: Status | None, *rest: Any) -> None:
        settlement = Settlement(work.event_id, self.group, work.topic, work.generation, number, status, *rest)
        self._waiting.append((work, settlement))
        if self._goes_on_without:
            self._remember(settlement)

    def _remember(self, settlement: Settlement) -> None:
        event = settlement.event_id, settlement.generation
        if settlement.outcome is Status.RETRYING:
            if len(self._past) >= _MOST_REMEMBERED:
                del self._past[next(iter(self._past))]
            self._past[event] = settlement
        elif settlement.outcome is not None:
            self._past.pop(event, None)

    def _with_past(self, claim: Claim, answer: Answer) -> Answer:
        """The answer with the attempts that Redis doesn't know of; else an event that fails would be tried for ever."""
        past = self._past.get((claim.event_id, claim.generation))
        if past is None or past.attempts <= answer.attempts or answer.verdict is not Verdict.GRANTED:
            return answer
        return Answer(
            Verdict.GRANTED, answer.number, attempts=past.attempts, crashes=past.crashes, history=past.history
        )

    def ask(self, claims: Sequence[Claim]) -> None:
        """Begin a call with these claims and what waits to be settled. Only when `is_free`."""
        if not claims and not self._waiting:
            return
        settlements = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_SETTLEMENTS))]
        self._number += 1
        self._call = _Call(self._number, settlements, list(claims))

    def perform(self) -> Reply | None:
        """The answer to the call that was begun, or None: none yet, or Redis is away and it will be repeated."""
        call = self._call
        if call is None or self._clock() < self._not_before:
            return None
        try:
            kept, answers = self._ledger.exchange(
                self.lease, call.number, [settlement for _, settlement in call.settlements], call.claims
            )
        except LedgerUnavailableError as error:
            self._failed(error)
            if not self._goes_on_without:
                return None
            kept = [True] * len(call.settlements)
            answers = [Answer(Verdict.GRANTED, call.number)] * len(call.claims)
        else:
            self._succeeded()
        if self._goes_on_without:
            answers = [self._with_past(claim, answer) for claim, answer in zip(call.claims, answers, strict=True)]
        self._call = None
        settled = [Settled(work, settlement, k) for (work, settlement), k in zip(call.settlements, kept, strict=True)]
        return Reply(settled, answers)

    def beat(self, interval: float) -> None:
        """Renew the lease when `interval` seconds have passed; a failure is as good as a missed beat."""
        now = self._clock()
        if now - self._last_beat < interval or now < self._not_before or not self.is_free:
            return
        self._last_beat = now
        self._number += 1
        try:
            self._ledger.heartbeat(self.lease, self._number)
        except LedgerUnavailableError as error:
            self._failed(error)
        else:
            self._succeeded()

    def end(self, running: Sequence[Work], seconds: float) -> None:
        """Let what was claimed and not settled be taken over at once; what still runs, after so many seconds."""
        for work in running:
            answer = work.answer
            postponed = answer.attempts, answer.crashes, answer.history, int(seconds * 1000)
            self._queue(work, answer.number, Status.RETRYING, *postponed)
        self._not_before = 0.0  # the last chance
        while self.unsettled:
            if self.is_free:
                self.ask(())
            if self.perform() is None:
                log.warning("lease_not_ended %s: it lapses by itself", self.lease)
                return
        try:
            self._ledger.end_lease(self.lease)
        except LedgerUnavailableError:
            log.warning("lease_not_ended %s: it lapses by itself", self.lease)

    def _failed(self, error: LedgerUnavailableError) -> None:
        if not self.is_away:
            self.is_away = True
            what = "handling events without deduplication" if self._goes_on_without else "waiting, nothing is lost"
            log.warning("ledger_unavailable %s: %s", what, error)
        self._not_before = self._clock() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def _succeeded(self) -> None:
        if self.is_away:
            self.is_away = False
            log.warning("ledger_back")
        self._pause = _FIRST_PAUSE
        self._not_before = 0.0
