"""What the ledger keeps and says, and how it is packed into Redis."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from bus.errors import EventIdConflictError, LedgerUnavailableError, PublishInFlightError


class Status(StrEnum):
    """What became of an event, in the specification's words."""

    #: Published; no group has taken it. Kept 1 h (BUS_DEDUP_SECONDS).
    PENDING = "PENDING"
    #: A worker has it. When that worker dies, whoever gets the partition next takes it over. Kept 24 h.
    PROCESSING = "PROCESSING"
    #: Failed; the next attempt is due at a known time. Kept 24 h (BUS_FAILED_SECONDS).
    RETRYING = "RETRYING"
    #: Handled, or skipped by the handler. Kept 1 h.
    PROCESSED = "PROCESSED"
    #: A dead letter; a replay starts a new generation. Kept 24 h.
    FAILED = "FAILED"


class Verdict(StrEnum):
    """The answer to a claim."""

    GRANTED = "G"
    AGAIN = "A"
    WAIT = "W"
    BUSY = "B"
    DONE = "D"
    FAILED = "F"


class Claim(NamedTuple):
    """A worker's wish to run an event. `alone` marks that nothing else runs in the worker beside it."""

    event_id: str
    group: str
    topic: str
    generation: int = 0
    alone: bool = False


class Attempt(NamedTuple):
    """One run of a handler: when it began (ms since 1970), how long it took (ms), where, and why it failed."""

    at_ms: int
    duration_ms: int
    worker: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ledger says to a claim. `wait_ms` is given with WAIT and BUSY."""

    verdict: Verdict
    number: int
    wait_ms: int = 0
    attempts: int = 0
    crashes: int = 0
    suspect: bool = False
    history: tuple[Attempt, ...] = ()
    owner: str = ""


class Settlement(NamedTuple):
    """The outcome of a claimed event. `number` is that of the call that claimed it.

    `outcome` is PROCESSED, RETRYING (again in `delay_ms`), FAILED, or None: not started, given back.
    """

    event_id: str
    group: str
    topic: str
    generation: int
    number: int
    outcome: Status | None
    attempts: int = 0
    crashes: int = 0
    history: tuple[Attempt, ...] = ()
    delay_ms: int = 0


class PublishRecord(NamedTuple):
    """Where an event was published, when (ms since 1970) and by whom."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    by: str


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """What became of an event in one group."""

    group: str
    status: Status
    topic: str
    generation: int
    attempts: tuple[Attempt, ...]
    next_retry_at_ms: int | None
    worker: str | None


@dataclass(frozen=True, slots=True)
class EventStatus:
    """All that the ledger knows of an event."""

    event_id: str
    published: PublishRecord | None
    groups: tuple[GroupStatus, ...]


_STATES = {"C": Status.PROCESSING, "R": Status.RETRYING, "D": Status.PROCESSED, "F": Status.FAILED}
_VERBS = {Status.PROCESSED: "D", Status.RETRYING: "R", Status.FAILED: "F", None: "X"}
_RECORD = re.compile(r"([CRDF])\|([^|]*)\|\d+\|(-?\d+)\|(\d+)\|\d+\|\d+\|\d\d\|([^|]*)\|(.*)", re.DOTALL)


def pack_settlement_kind(settlement: Settlement) -> tuple[str, int, int, int]:
    """What a settlement may share with others, as `ledger.lua` takes it: verb, generation, number, delay in ms."""
    return _VERBS[settlement.outcome], settlement.generation, settlement.number, settlement.delay_ms


def pack_settlement(settlement: Settlement) -> str:
    """The rest of the record that a settlement leaves: attempts, crashes, no suspicion, topic, history."""
    _, _, topic, _, _, _, attempts, crashes, history, _ = settlement
    return f"{attempts}|{crashes}|00|{_field(topic)}|{_pack_history(history)}"


def pack_claim_kind(claim: Claim) -> tuple[int, str, int]:
    """What a claim may share with others: generation, topic, alone."""
    return claim.generation, _field(claim.topic), 1 if claim.alone else 0


def claim_answer(letter: str, number: int, detail: list[Any]) -> Answer:
    """The answer to a claim from its letter and its detail."""
    verdict = Verdict(letter)
    if verdict is Verdict.BUSY:
        return Answer(verdict, number, wait_ms=int(detail[0]), owner=detail[1].decode())
    wait, attempts, crashes, suspect, history = detail
    return Answer(verdict, number, int(wait), int(attempts), int(crashes), suspect == b"1", _history(history))


def pack_publish(record: PublishRecord) -> str:
    """A publish record as Redis keeps it."""
    return "Y|{}|{}|{}|{}|{}".format(*record)


def publish_record(value: bytes | None) -> PublishRecord | None:
    """The publish record in Redis; None while somebody is still publishing."""
    if not value or not value.startswith(b"Y|"):
        return None
    _, topic, partition, offset, at_ms, by = value.decode().split("|", 5)
    return PublishRecord(topic, int(partition), int(offset), int(at_ms), by)


def publish_answer(topic: str, event_id: str, answer: bytes) -> PublishRecord | Exception | None:
    """What an attempt to reserve an event id for publishing came to."""
    if answer == b"G":
        return None
    state, other, *_ = answer.decode().split("|")
    if other != topic:
        return EventIdConflictError(event_id, topic, other)
    return PublishInFlightError(event_id) if state == "P" else publish_record(answer)


def group_status(group: str, value: bytes) -> GroupStatus:
    """A group's record of an event. Raises LedgerUnavailableError when something else stands there."""
    match = _RECORD.fullmatch(value.decode(errors="replace"))
    if match is None:
        raise LedgerUnavailableError(f"Redis holds something else where the ledger keeps group {group}: {value!r:.80}")
    state, worker, generation, due, topic, history = match.groups()
    return GroupStatus(
        group,
        _STATES[state],
        topic,
        int(generation),
        _history(history),
        int(due) if state == "R" else None,
        worker if state == "C" else None,
    )


def _field(text: str) -> str:
    """Text that fits between two '|'. Topics never hold one, but headers of forged records may."""
    return text if "|" not in text else text.replace("|", "/")


def _pack_history(history: Sequence[Attempt]) -> str:
    if not history:
        return ""
    rows: list[list[Any]] = [list(attempt) for attempt in history]
    try:
        return orjson.dumps(rows).decode()
    except TypeError:
        # Lone surrogates, such as those of a file name that isn't UTF-8: no reason to lose the outcome.
        return orjson.dumps(
            [[*row, error and error.encode(errors="replace").decode()] for *row, error in rows]
        ).decode()


def _history(history: bytes | str) -> tuple[Attempt, ...]:
    return tuple(Attempt(*each) for each in orjson.loads(history)) if history else ()
