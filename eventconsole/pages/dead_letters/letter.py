"""The page of one dead letter: what failed and why, what it said, what became of it and who did what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from bus import audit, catalog, conf, deadletters
from bus.deadletterindex.records import OriginGoneError, PayloadGoneError, positions_of, record_of, whole_record_of
from bus.deadletterindex.summaries import letters_of_event
from bus.errors import UnavailableError
from bus.models import DeadLetter, ErrorGroup, LetterStatus, Replay, ReplayItem
from bus.replay.edit import LOCKED
from bus.replay.operations import MAX_GENERATION
from eventconsole.models import Scope
from eventconsole.pages.access import needs, problem
from eventconsole.pages.dead_letters.search import now
from eventconsole.pages.dead_letters.words import data_text, lines_of, shown

#: So much of a payload comes with the page; the rest when somebody asks.
FIRST_BYTES: Final = 65_536
#: Headers that other parts rely on: they may be changed, but whoever does should know.
SENSITIVE: Final = {
    "event-type": "handlers are chosen by the topic, but tools believe this",
    "correlation-id": "the copy leaves the timeline of its request",
    "priority": "a group that takes only some priorities may skip it",
    "traceparent": "the copy leaves the trace of its request",
    "published-by": "who published it is told from this",
}
_LARGEST: Final = 2**63 - 1
_ORIGIN_SECONDS: Final = 5.0


@needs(Scope.READ)
def letter(request: HttpRequest, letter_id: int) -> HttpResponse:
    """The page."""
    found = DeadLetter.objects.select_related("replay").filter(pk=min(letter_id, _LARGEST)).first()
    if found is None:
        return problem(
            request,
            404,
            "No such dead letter",
            f"There is no dead letter {letter_id}.",
            "It may have left Kafka, and the index with it; or the index was made anew and gave it another number.",
            ("/dead-letters", "To the dead letters"),
        )
    return render(request, "console/dead_letters/letter.html", context_of(found, now()))


@needs(Scope.READ)
def data(request: HttpRequest, letter_id: int) -> HttpResponse:
    """The event's data, indented, for the form that edits it."""
    try:
        text = data_text(whole_record_of(min(letter_id, _LARGEST), timeout=_ORIGIN_SECONDS).value)
    except (PayloadGoneError, OriginGoneError) as error:
        return JsonResponse({"detail": str(error)}, status=410)
    except UnavailableError as error:
        return JsonResponse({"detail": str(error)}, status=503)
    return HttpResponse(text or "", content_type="text/plain; charset=utf-8")


def context_of(found: DeadLetter, at: datetime) -> dict[str, Any]:
    """All that the page shows."""
    record = _record(found)
    return live_context(found, at) | {
        "group": ErrorGroup.objects.filter(pk=found.fingerprint).first(),
        "record": record,
        "payload": payload_of(record) if record else None,
        "edit": edit_of(record) if record else None,
        "stack": lines_of(record.stack_trace if record else None),
        "positions": positions_of(found, 20),
        "has_model": (topic := catalog.topic(found.topic)) is not None and topic.model is not None,
    }


def live_context(found: DeadLetter, at: datetime) -> dict[str, Any]:
    """What moves on the page: state, generations, replays, who did what."""
    generations = letters_of_event(found.event_id)
    mine = [each for each in generations if each.group == found.group]
    return {
        "letter": found,
        "state": state_of(found, mine, at),
        "generations": mine,
        "elsewhere": [each for each in generations if each.group != found.group],
        "replays": _replays(found),
        "entries": audit.of_letters([found.pk]),
    }


@dataclass(frozen=True, slots=True)
class LetterState:
    """What can be done with it now, and what has to be confirmed. `is_unsent`: its replay waits for its time,
    or for Kafka.
    """

    letter: DeadLetter
    status: str
    newer: DeadLetter | None
    previous: DeadLetter | None
    sends_at: datetime | None
    purged_at: datetime | None
    needs_force: bool
    needs_all_groups: bool
    can_be_restored: bool
    is_unsent: bool


def state_of(letter: DeadLetter, generations: Sequence[DeadLetter], at: datetime) -> LetterState:
    """The state, from the row and those of its other generations."""
    newer = next((each for each in generations if each.generation > letter.generation), None)
    earlier = [each for each in generations if each.generation < letter.generation]
    replay = letter.replay
    is_waiting = letter.status == LetterStatus.REPLAYING and replay is not None and replay.state == Replay.State.RUNNING
    is_unsent = is_waiting and replay is not None and replay.kind != Replay.Kind.MANY and replay.sent == 0
    sends_at = replay.send_at if is_unsent and replay is not None else None
    days = timedelta(days=conf.current().discarded_days)
    return LetterState(
        letter=letter,
        status=letter.status,
        newer=newer,
        previous=earlier[-1] if earlier else None,
        sends_at=sends_at if sends_at and sends_at > at else None,
        purged_at=letter.discarded_at + days if letter.discarded_at else None,
        needs_force=letter.generation + 1 > MAX_GENERATION,
        needs_all_groups=not letter.group,
        is_unsent=is_unsent,
        can_be_restored=letter.status == LetterStatus.DISCARDED and letter.purged_at is None,
    )


def _record(found: DeadLetter) -> deadletters.DeadLetter | None:
    try:
        return record_of(found.pk)
    except PayloadGoneError:
        return None


@dataclass(frozen=True, slots=True)
class Payload:
    """What the record said: `text` is the beginning of the value; `is_cut` when there is more of it."""

    text: str | None
    size: int
    is_cut: bool
    is_binary: bool
    key: str | None
    headers: Sequence[tuple[str, str]]
    at_origin: Sequence[str]


def payload_of(record: deadletters.DeadLetter) -> Payload:
    """Cut for the page. Bytes that aren't UTF-8 are shown as far as they are text."""
    value = record.value
    is_binary = False
    text = None
    if value is not None:
        try:
            value.decode()
        except UnicodeDecodeError:
            is_binary = True
        text = value[:FIRST_BYTES].decode(errors="replace" if is_binary else "ignore")
    return Payload(
        text=text,
        size=len(value or b""),
        is_cut=len(value or b"") > FIRST_BYTES,
        is_binary=is_binary,
        key=shown(record.key),
        headers=[(name, shown(value) or "") for name, value in record.headers],
        at_origin=sorted(record.at_origin),
    )


@dataclass(frozen=True, slots=True)
class EditHeader:
    """A header in the form. `kind`: locked, sensitive or free; `why` is what to know before it is changed."""

    name: str
    value: str
    kind: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class EditForm:
    """What the form begins with. `data` is None where the original can't be read: then it is to be given anew."""

    data: str | None
    key: str | None
    headers: Sequence[EditHeader]
    is_large: bool


def edit_of(record: deadletters.DeadLetter) -> EditForm:
    """The form of "edit and replay". What is large, or at its origin in Kafka, is fetched when the form is opened."""
    is_large = len(record.value or b"") > FIRST_BYTES or bool(record.at_origin)
    return EditForm(
        data=None if is_large else data_text(record.value),
        key=shown(record.key),
        headers=[_edit_header(name, shown(value) or "") for name, value in record.headers],
        is_large=is_large,
    )


def _edit_header(name: str, value: str) -> EditHeader:
    if name in LOCKED or name.startswith(deadletters.PREFIX):
        return EditHeader(name, value, "locked", "the bus sets it")
    if name in SENSITIVE:
        return EditHeader(name, value, "sensitive", SENSITIVE[name])
    return EditHeader(name, value, "free")


def _replays(found: DeadLetter) -> list[ReplayItem]:
    items = ReplayItem.objects.filter(dead_letter=found).select_related("replay", "edit").order_by("-replay_id")
    return list(items[:20])
