"""What the API does with replays, on threads of its own: the database and Kafka may take seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from bus import conf
from bus.deadletterindex.records import OriginGoneError, PayloadGoneError, whole_record_of
from bus.deadletterindex.times import iso_or_none
from bus.envelope import new_event_id
from bus.models import DeadLetter, ErrorGroupPlace, Replay, ReplayItem
from bus.replay import operations, states
from bus.replay.edit import SAME, Edit, Edited, edited
from bus.replay.engine import Engine
from bus.replay.refusals import NotPossibleError, UnknownThingError
from eventconsole.api import replay_bodies as bodies
from eventconsole.api.errors import NOT_FOUND, Kind, Problem
from eventconsole.api.memory import DatabaseThreads
from eventconsole.api.tokens import Caller

T = TypeVar("T")

#: Whoever waits for an acknowledgement hears within 10 s.
SEND_SECONDS = 8.5
ANSWER_SECONDS = 30.0

CONFLICT = Kind(409, "not-possible", "This isn't possible now")
WAITS = Kind(503, "replay-waits", "Kafka hasn't acknowledged it yet", 5)
REFUSED = Kind(503, "replay-refused", "The dead letter was not replayed", 5)

_engine: Engine | None = None
_engine_settings: conf.BusSettings | None = None
_sending = threading.Lock()


@cache
def _threads() -> DatabaseThreads:
    return DatabaseThreads(4)


async def at_the_desk(do: Callable[[], T]) -> T:
    """The result of `do`, run on a thread; what the bus refuses is a Problem that says what is possible."""
    return await _threads().ask(lambda: _translated(do), ANSWER_SECONDS)


def _translated(do: Callable[[], T]) -> T:
    try:
        return do()
    except (UnknownThingError, PayloadGoneError) as error:
        raise Problem(NOT_FOUND, str(error)) from error
    except OriginGoneError as error:
        raise Problem(CONFLICT, str(error)) from error
    except NotPossibleError as error:
        members: dict[str, Any] = {
            "who": error.who or None,
            "when": iso_or_none(error.at),
        }
        raise Problem(CONFLICT, str(error), members={**members, "possible": list(error.possible)}) from error


def now() -> datetime:
    """The time, for what is written down."""
    return datetime.now(UTC)


def replay_one(letter_id: int, body: bodies.ReplayOneRequest, caller: Caller) -> Replay:
    """Replay a dead letter and wait for the broker's acknowledgement, unless it is to be sent later."""
    letter = DeadLetter.objects.filter(pk=letter_id).first()
    if letter is None or not caller.may_use(letter.topic):
        raise UnknownThingError(f"there is no dead letter {letter_id}")
    replay = operations.replay_one(
        letter_id,
        caller.name,
        now(),
        delay=body.delay,
        force=body.force,
        all_groups=body.all_groups,
        edited=_edited(letter, body.edit) if body.edit is not None else None,
        reason=body.reason,
    )
    if replay.send_at is None:
        _send(replay)
        replay.refresh_from_db()
    return replay


def _edited(letter: DeadLetter, wanted: bodies.EditRequest) -> Edited:
    given = wanted.model_fields_set
    edit = Edit(
        data=wanted.data if "data" in given else SAME,
        key=wanted.key if "key" in given else SAME,
        headers=wanted.headers,
    )
    return edited(whole_record_of(letter.pk), letter.topic, edit, new_event_id())


def _send(replay: Replay) -> None:
    # One after the other; while Kafka is away each takes its time, and nobody waits for a long row of them.
    is_answered = False
    if _sending.acquire(timeout=SEND_SECONDS):
        try:
            is_answered = _shared_engine().send_now(replay.pk, SEND_SECONDS)
        finally:
            _sending.release()
    if not is_answered:
        raise Problem(
            WAITS,
            f"It is stored as replay {replay.pk}, and the monitor sends it as soon as Kafka acknowledges it; "
            "don't ask for it again",
            members={"replay": replay.pk},
        )
    item = ReplayItem.objects.get(replay=replay)
    if item.state == ReplayItem.State.SKIPPED:
        raise Problem(REFUSED, item.note or "it was refused", members={"replay": replay.pk})


def _shared_engine() -> Engine:
    global _engine, _engine_settings
    settings = conf.current()
    if _engine is None or _engine_settings is not settings:
        if _engine is not None:
            _engine.close()
        _engine, _engine_settings = Engine(settings), settings
    return _engine


def close() -> None:
    """Let go of connections."""
    global _engine
    with _sending:
        if _engine is not None:
            _engine.close()
        _engine = None


def visible_replay(replay_id: int, caller: Caller) -> Replay:
    """A replay all of whose topics the caller may use. Raises UnknownThingError."""
    replay = Replay.objects.filter(pk=replay_id).first()
    if replay is None or not all(caller.may_use(topic) for topic, _, _ in replay.places):
        raise states.unknown(replay_id)
    return replay


def visible_topics(caller: Caller) -> tuple[str, ...] | None:
    """The topics with dead letters that the caller may use; None for all."""
    if not caller.topics:
        return None
    known = ErrorGroupPlace.objects.values_list("topic", flat=True).distinct().order_by()
    return tuple(topic for topic in known if caller.may_use(topic))
