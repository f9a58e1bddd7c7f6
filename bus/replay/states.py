"""Which state of a replay follows which. A change is one conditional update: who comes second is told of the first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from bus.models import Replay
from bus.replay.refusals import NotPossibleError, UnknownThingError

State = Replay.State


class Verb(StrEnum):
    """What is done to a replay; the last four are done by the monitor."""

    RUN = "run"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    CANARY_SENT = "wait for canary"
    CANARY_PASSED = "go on after canary"
    CANARY_FAILED = "stop by canary"
    COMPLETE = "complete"


#: Per verb the states that it can be done in, and the state that follows.
TABLE: Mapping[Verb, tuple[frozenset[str], str]] = {
    Verb.RUN: (frozenset({State.PLANNED}), State.RUNNING),
    Verb.PAUSE: (frozenset({State.RUNNING, State.WAITING_FOR_CANARY}), State.PAUSED),
    Verb.RESUME: (frozenset({State.PAUSED, State.STOPPED_BY_CANARY}), State.RUNNING),
    Verb.CANCEL: (
        frozenset({State.PLANNED, State.RUNNING, State.PAUSED, State.WAITING_FOR_CANARY, State.STOPPED_BY_CANARY}),
        State.CANCELLED,
    ),
    Verb.CANARY_SENT: (frozenset({State.RUNNING}), State.WAITING_FOR_CANARY),
    Verb.CANARY_PASSED: (frozenset({State.WAITING_FOR_CANARY}), State.RUNNING),
    Verb.CANARY_FAILED: (frozenset({State.WAITING_FOR_CANARY}), State.STOPPED_BY_CANARY),
    Verb.COMPLETE: (frozenset({State.RUNNING, State.WAITING_FOR_CANARY}), State.COMPLETED),
}
ACTIVE: Final = (State.RUNNING, State.PAUSED, State.WAITING_FOR_CANARY, State.STOPPED_BY_CANARY)
"""Begun, and neither cancelled nor completed."""
_OF_PEOPLE = (Verb.RUN, Verb.PAUSE, Verb.RESUME, Verb.CANCEL)


def possible(state: str) -> list[str]:
    """What a person can do to a replay in this state."""
    return [verb.value for verb in _OF_PEOPLE if state in TABLE[verb][0]]


def change(replay_id: int, verb: Verb, who: str, at: datetime, **fields: Any) -> None:
    """Take a replay to the state that follows, and set other fields with it.

    Raises UnknownThingError, and NotPossibleError with who brought it where it is, and when.
    """
    if not try_change(replay_id, verb, who, at, **fields):
        raise refusal(replay_id, verb)


def try_change(replay_id: int, verb: Verb, who: str, at: datetime, **fields: Any) -> bool:
    """The same; False where that isn't possible."""
    sources, target = TABLE[verb]
    changed = Replay.objects.filter(pk=replay_id, state__in=sources).update(
        state=target, changed_at=at, changed_by=who[:200], **fields
    )
    return changed == 1


def refusal(replay_id: int, verb: str) -> UnknownThingError | NotPossibleError:
    """Why the verb can't be done to the replay now."""
    replay = Replay.objects.filter(pk=replay_id).first()
    if replay is None:
        return unknown(replay_id)
    return NotPossibleError(
        f"replay {replay_id} can't {verb}: it is {replay.state}, since it was changed",
        replay.changed_by or replay.created_by,
        replay.changed_at or replay.created_at,
        possible(replay.state),
    )


def unknown(replay_id: int) -> UnknownThingError:
    """There is no such replay."""
    return UnknownThingError(f"there is no replay {replay_id}")
