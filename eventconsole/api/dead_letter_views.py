"""What the API asks of the dead letter index. Runs on threads of its own: it waits for the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from django.db import transaction

from bus.deadletterindex import changes
from bus.deadletterindex.changes import Act
from bus.deadletterindex.documents import group_document, letter_details, letter_document
from bus.deadletterindex.index import progress_of
from bus.deadletterindex.pages import GroupFilter, LetterFilter, group_page, letter_page
from bus.deadletterindex.records import PayloadGoneError, positions_of, record_of
from bus.deadletterindex.summaries import places_of
from bus.deadletterindex.times import iso_or_none
from bus.deadletterindex.trends import Span, trends
from bus.models import DeadLetter, ErrorGroup, ErrorGroupPlace, IndexPosition, LetterStatus
from eventconsole.api.dead_letter_bodies import LetterFilters, Selection
from eventconsole.api.errors import CONFLICT, INVALID, NOT_FOUND, Problem
from eventconsole.api.memory import DatabaseThreads
from eventconsole.api.tokens import Caller

#: A list is answered within this or not at all.
QUERY_SECONDS = 10.0
#: A change of all that match a filter ends after so many seconds; the rest is for the next request.
CHANGE_SECONDS = 8.0
_CHANGE_BATCH = 1000
#: An error group is new for so long.
NEW_FOR = timedelta(days=1)
_MAX_SKIPPED = 100

Change = Callable[[Sequence[int], Act, datetime], list[int]]


@cache
def threads() -> DatabaseThreads:
    """Threads for the index; those of logins and tokens are never held up by a long list."""
    return DatabaseThreads(4)


def visible_topics(caller: Caller) -> tuple[str, ...] | None:
    """The topics with dead letters that the caller may see; None for all."""
    if not caller.topics:
        return None
    known = ErrorGroupPlace.objects.order_by("topic").values_list("topic", flat=True).distinct()
    return tuple(topic for topic in known if caller.may_use(topic))


def list_letters(wanted: LetterFilters, limit: int, cursor: str | None, caller: Caller) -> dict[str, Any]:
    """A page of dead letters."""
    page = letter_page(wanted.filter(visible_topics(caller)), limit, cursor)
    return {"data": [letter_document(letter) for letter in page.rows], "next": page.next}


def find_letter(letter_id: int, caller: Caller) -> DeadLetter:
    """The dead letter. Raises Problem (404), also for one that the caller may not see."""
    letter = DeadLetter.objects.filter(pk=letter_id).first()
    if letter is None or not caller.may_use(letter.topic):
        raise Problem(NOT_FOUND, f"There is no dead letter {letter_id}; it may have left Kafka, and the index with it")
    return letter


def show_letter(letter_id: int, caller: Caller) -> dict[str, Any]:
    """A dead letter with its stack trace, its places and what was done to it."""
    letter = find_letter(letter_id, caller)
    newer = DeadLetter.objects.filter(previous=letter).order_by("generation").values_list("pk", flat=True).first()
    try:
        stack_trace = record_of(letter.pk).stack_trace
    except PayloadGoneError:
        stack_trace = None
    return letter_details(letter, positions_of(letter), newer, stack_trace)


def keep_letter(letter_id: int, keep: bool, caller: Caller, at: datetime) -> dict[str, Any]:
    """Have a dead letter stay in the index, or leave it with its record."""
    letter = find_letter(letter_id, caller)
    with transaction.atomic():
        if DeadLetter.objects.filter(pk=letter.pk).exclude(kept=keep).update(kept=keep):
            Act(caller.name, "dead-letters.keep", detail={"keep": keep}).done(at, "dead-letter", str(letter.pk))
    return show_letter(letter_id, caller)


def list_groups(wanted: GroupFilter, limit: int, cursor: str | None, span: Span | None = None) -> dict[str, Any]:
    """A page of error groups; counts are those of the topics that may be seen."""
    page = group_page(wanted, limit, cursor)
    return {"data": _group_documents(page.rows, wanted.topics, span), "next": page.next}


def show_group(fingerprint: str, caller: Caller) -> dict[str, Any]:
    """One error group. Raises Problem (404)."""
    group = ErrorGroup.objects.filter(pk=fingerprint).first()
    topics = visible_topics(caller)
    if group is not None:
        (document,) = _group_documents([group], topics)
        if topics is None or document["topics"]:
            return document
    raise Problem(NOT_FOUND, f"There is no error group {fingerprint:.100}")


def note_group(fingerprint: str, note: str | None, owner: str | None, caller: Caller, at: datetime) -> dict[str, Any]:
    """Change the note or the owner of a group."""
    show_group(fingerprint, caller)
    given = {name: value for name, value in (("note", note), ("owner", owner)) if value is not None}
    with transaction.atomic():
        ErrorGroup.objects.filter(pk=fingerprint).update(**given, noted_by=caller.name[:200], noted_at=at)
        Act(caller.name, "error-group.note", detail=given).done(at, "error-group", fingerprint)
    return show_group(fingerprint, caller)


def show_index() -> dict[str, Any]:
    """How far the index is behind Kafka, as of its last look."""
    progress = progress_of()
    clusters = IndexPosition.objects.values_list("cluster", flat=True).distinct()
    return {
        "behind": progress.behind,
        "seenAt": iso_or_none(progress.seen_at),
        "cluster": next(iter(clusters), None),
        "partitions": IndexPosition.objects.count(),
    }


def discard(selection: Selection, reason: str, caller: Caller) -> dict[str, Any]:
    """Discard what is open of a selection."""
    return _change(selection, reason, caller, "discard", LetterStatus.OPEN, changes.discard)


def restore(selection: Selection, reason: str, caller: Caller) -> dict[str, Any]:
    """Open again what is discarded of a selection."""
    return _change(selection, reason, caller, "restore", LetterStatus.DISCARDED, changes.restore)


def _change(
    selection: Selection, reason: str, caller: Caller, verb: str, source: LetterStatus, change: Change
) -> dict[str, Any]:
    act = Act(caller.name, f"dead-letters.{verb}", reason)
    if selection.ids is not None:
        return _change_ids(list(dict.fromkeys(selection.ids)), act, caller, verb, source, change)
    assert selection.filter is not None
    given = selection.filter.given()
    if given.setdefault("status", source.value) != source:
        raise Problem(
            INVALID,
            f"filter.status: {given['status']} ones can't be changed so; {verb} takes those that are {source}",
            [("filter.status", f"allowed is {source}")],
        )
    # What fails from now on wasn't seen by whoever asks, and isn't meant.
    now = datetime.now(UTC)
    given["until"] = min(given.get("until", now), now)
    wanted = LetterFilter(**given, topics=visible_topics(caller))
    act = Act(act.who, act.what, act.why, {"filter": wanted.document()})
    deadline, changed, last = time.monotonic() + CHANGE_SECONDS, 0, 0
    while time.monotonic() < deadline:
        ids = list(wanted.letters().filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:_CHANGE_BATCH])
        if not ids:
            return {"changed": changed, "skipped": [], "complete": True}
        changed += len(change(ids, act, now))
        last = ids[-1]
    return {"changed": changed, "skipped": [], "complete": False}


def _change_ids(
    ids: Sequence[int], act: Act, caller: Caller, verb: str, source: LetterStatus, change: Change
) -> dict[str, Any]:
    known = _statuses(ids)
    unknown = [pk for pk in ids if pk not in known or not caller.may_use(known[pk][1])]
    if unknown:
        raise Problem(
            NOT_FOUND,
            f"There is no dead letter {', '.join(map(str, unknown[:10]))}{' …' * (len(unknown) > 10)}; nothing changed",
            [(f"ids[{ids.index(pk)}]", "there is no such dead letter") for pk in unknown],
        )
    changed = set(change(ids, act, datetime.now(UTC)))
    # As of after the change: it says what was in the way.
    after = _statuses([pk for pk in ids if pk not in changed])
    skipped = [{"id": pk, "status": _shown(status)} for pk, (status, _) in after.items()]
    if not changed:
        first = skipped[0] if skipped else {"id": ids[0], "status": "gone"}
        raise Problem(
            CONFLICT,
            f"Dead letter {first['id']} is {first['status']}; {verb} takes those that are {source}",
            members={"skipped": skipped[:_MAX_SKIPPED]},
        )
    return {"changed": len(changed), "skipped": skipped[:_MAX_SKIPPED], "complete": True}


def _statuses(ids: Sequence[int]) -> dict[int, tuple[str, str]]:
    rows: list[tuple[int, str, str]] = []
    for some in changes.batches(ids):
        rows += DeadLetter.objects.filter(pk__in=some).values_list("pk", "status", "topic")
    return {pk: (status, topic) for pk, status, topic in rows}


def _shown(status: str) -> str:
    return LetterStatus.OPEN.value if status == LetterStatus.SUPERSEDED else status


def _group_documents(
    groups: Sequence[ErrorGroup], topics: tuple[str, ...] | None, span: Span | None = None
) -> list[dict[str, Any]]:
    now, fingerprints = datetime.now(UTC), [group.pk for group in groups]
    places = places_of(fingerprints, topics)
    over_time = trends(fingerprints, now, span, topics) if span is not None else {}
    return [group_document(each, places[each.pk], now - NEW_FOR, over_time.get(each.pk)) for each in groups]
