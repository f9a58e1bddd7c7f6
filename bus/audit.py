"""Reads the audit: what people and programs did, all of it in pages, or what concerns one thing.

Written by `bus.deadletterindex.changes.Act`, in the transaction of what is done.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import F, QuerySet
from django.db.models.fields.tuple_lookups import TupleLessThan

from bus.deadletterindex.pages import Page, page_of, read_cursor
from bus.deadletterindex.times import iso, iso_or_none
from bus.models import AuditEntry, AuditSubject, ReplayItem

MOST: Final = 100
_LETTER, _REPLAY, _ERROR_GROUP = "dead-letter", "replay", "error-group"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries: all that fit everything given. `what` is a verb such as "replay.run", or how it begins."""

    who: str | None = None
    what: str | None = None
    target_kind: str | None = None
    target: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def entries(self) -> QuerySet[AuditEntry]:
        """The entries, in no order."""
        names = ("who", "target_kind", "target", "outcome")
        found = AuditEntry.objects.filter(
            **{name: value for name in names if (value := getattr(self, name)) is not None}
        )
        if self.what is not None:
            found = found.filter(what__startswith=self.what)
        if self.since is not None:
            found = found.filter(at__gte=self.since)
        if self.until is not None:
            found = found.filter(at__lt=self.until)
        return found


def audit_page(wanted: AuditFilter, limit: int, cursor: str | None = None) -> Page[AuditEntry]:
    """A page of entries, the newest first. Raises CursorError."""
    found = wanted.entries()
    if cursor is not None:
        at, pk = read_cursor(cursor, int)
        # The first condition follows from the second; it is what SQLite finds the place in the index by.
        found = found.filter(TupleLessThan((F("at"), F("id")), (at, pk)), at__lte=at)
    return page_of(list(found.order_by("-at", "-id")[: limit + 1]), limit, lambda row: (row.at, row.pk))


def of_letters(letter_ids: Collection[int], limit: int = MOST) -> list[AuditEntry]:
    """What was done to these dead letters, alone, as some of many, or by their replays; the newest first.

    For one dead letter, or for those of one event (`summaries.letters_of_event`).
    """
    ids = list(letter_ids)
    replays = (
        ReplayItem.objects.filter(dead_letter_id__in=ids).order_by("-replay_id").values_list("replay_id", flat=True)
    )
    return _about({_LETTER: map(str, ids), _REPLAY: map(str, set(replays[:MOST]))}, limit)


def of_error_group(fingerprint: str, limit: int = MOST) -> list[AuditEntry]:
    """What was done to an error group: its notes, discards and restores of all of it, and its replays, newest first."""
    plans = (
        AuditSubject.objects.filter(kind=_ERROR_GROUP, target=fingerprint, entry__target_kind=_REPLAY)
        .order_by("-entry_id")
        .values_list("entry__target", flat=True)
    )
    return _about({_ERROR_GROUP: [fingerprint], _REPLAY: set(plans[:MOST])}, limit)


def of_replay(replay_id: int, limit: int = MOST) -> list[AuditEntry]:
    """Who planned, ran, paused and cancelled a replay; the newest first."""
    return _about({_REPLAY: [str(replay_id)]}, limit)


def entry_document(entry: AuditEntry) -> dict[str, Any]:
    """An entry as JSON. `outcome` is intent as long as nobody knows what came of it."""
    return {
        "id": entry.pk,
        "at": iso(entry.at),
        "who": entry.who,
        "what": entry.what,
        "targetKind": entry.target_kind,
        "target": entry.target or None,
        "why": entry.why or None,
        # Not which others were changed by the same act: up to a thousand ids, of topics that may be out of sight.
        "detail": {name: value for name, value in entry.detail.items() if name != "changed"},
        "outcome": entry.outcome,
        "outcomeDetail": entry.outcome_detail or None,
        "changed": entry.changed,
        "finishedAt": iso_or_none(entry.finished_at),
    }


def _about(targets: dict[str, Any], limit: int) -> list[AuditEntry]:
    """Entries whose target or subject is one of these, by two indexes."""
    ids: set[int] = set()
    for kind, names in targets.items():
        wanted = list(names)
        if not wanted:
            continue
        mine = AuditEntry.objects.filter(target_kind=kind, target__in=wanted).order_by("-at")
        ids.update(mine.values_list("pk", flat=True)[:limit])
        also = AuditSubject.objects.filter(kind=kind, target__in=wanted).order_by("-entry_id")
        ids.update(also.values_list("entry_id", flat=True)[:limit])
    return list(AuditEntry.objects.filter(pk__in=ids).order_by("-at", "-id")[:limit])
