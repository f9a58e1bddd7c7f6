"""The ledger's table as a small Python program, to hold the real one against."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bus.ledger import Answer, Attempt, Claim, Settlement, Status, Verdict

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Entry:
    """A group's record of an event. `waits`: its retry is far away; otherwise it is due."""

    status: Status
    worker: str
    number: int
    generation: int
    attempts: int = 0
    crashes: int = 0
    suspect: bool = False
    alone: bool = False
    waits: bool = False
    history: tuple[Attempt, ...] = ()


@dataclass
class Model:
    """What the ledger ought to hold."""

    entries: dict[str, Entry] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)

    def exchange(
        self, worker: str, number: int, settlements: list[Settlement], claims: list[Claim]
    ) -> tuple[list[bool], list[Answer]]:
        self.alive.add(worker)
        kept = [self._settle(worker, number, each) for each in settlements]
        answers, seen = [], set()
        for claim in claims:
            if claim.event_id in seen:
                answers.append(Answer(Verdict.BUSY, number, owner=worker))
            else:
                seen.add(claim.event_id)
                answers.append(self._claim(worker, number, claim))
        return kept, answers

    def _settle(self, worker: str, call: int, settlement: Settlement) -> bool:
        event_id, number, generation, outcome = (
            settlement.event_id,
            settlement.number,
            settlement.generation,
            settlement.outcome,
        )
        old = self.entries.get(event_id)
        owner = (worker, number, generation)
        is_ours = old is not None and (old.worker, old.number, old.generation) == owner
        if outcome is None:
            if old is not None and is_ours and old.status is Status.PROCESSING:
                self._give_back(event_id, old)
            return True
        if old is not None and not (is_ours and old.status is Status.PROCESSING):
            if is_ours and old.status is outcome:
                return True
            if old.status is Status.PROCESSING and (old.worker, old.number) == (worker, call):
                return True
            if old.generation > generation:
                return False
            if old.generation == generation:
                if outcome is not Status.PROCESSED or old.status is Status.FAILED:
                    return False
                if old.status is Status.PROCESSED:
                    return True
        self.entries[event_id] = Entry(
            outcome,
            *owner,
            attempts=settlement.attempts,
            crashes=settlement.crashes,
            waits=settlement.delay_ms > 0,
            history=settlement.history,
        )
        return True

    def _give_back(self, event_id: str, old: Entry) -> None:
        if old.attempts or old.crashes or old.suspect or old.generation:
            self.entries[event_id] = replace(old, status=Status.RETRYING, alone=False, waits=False)
        else:
            del self.entries[event_id]

    def _claim(self, worker: str, number: int, claim: Claim) -> Answer:
        old = self.entries.get(claim.event_id)
        if old is None or old.generation < claim.generation:
            self.entries[claim.event_id] = Entry(Status.PROCESSING, worker, number, claim.generation, alone=claim.alone)
            return Answer(Verdict.GRANTED, number)
        if old.generation > claim.generation or old.status is Status.PROCESSED:
            return Answer(Verdict.DONE, number)
        if old.status is Status.FAILED:
            return Answer(Verdict.FAILED, number)
        suspect, crashes, alone = old.suspect, old.crashes, claim.alone
        if old.status is Status.RETRYING:
            if old.waits:
                return Answer(Verdict.WAIT, number, HOUR_MS, old.attempts, crashes, suspect, old.history)
        elif old.worker == worker:
            alone = alone or old.alone
        elif old.worker in self.alive:
            return Answer(Verdict.BUSY, number, owner=old.worker)
        else:
            suspect, crashes = True, crashes + old.alone
        self.entries[claim.event_id] = replace(
            old,
            status=Status.PROCESSING,
            worker=worker,
            number=number,
            suspect=suspect,
            crashes=crashes,
            alone=alone,
            waits=False,
        )
        return Answer(Verdict.AGAIN, number, 0, old.attempts, crashes, suspect, old.history)
