"""Every change of a dead letter's status: one conditional update, with its counts and its audit entry beside it.

What was changed by somebody else meanwhile isn't changed again: callers are told what was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Greatest

from bus.deadletterindex.bulk import insert_rows
from bus.deadletterindex.counts import Counts, Spot
from bus.models import AuditEntry, AuditSubject, DeadLetter, LetterStatus, Replay

BATCH: Final = 1000


class Subject(NamedTuple):
    """What an audit entry is about, such as ("dead-letter", "12") or ("error-group", its fingerprint)."""

    kind: str
    target: str


@dataclass(frozen=True, slots=True)
class Act:
    """Who does something, and why; `detail` is what was asked for."""

    who: str
    what: str
    why: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    def intent(self, at: datetime, target_kind: str, target: str = "") -> AuditEntry:
        """Write down what is about to be done."""
        return AuditEntry.objects.create(
            at=at,
            who=self.who[:200],
            what=self.what,
            target_kind=target_kind,
            target=target,
            why=self.why,
            detail=dict(self.detail),
        )

    def done(
        self, at: datetime, target_kind: str, target: str = "", changed: int = 1, subjects: Iterable[Subject] = ()
    ) -> AuditEntry:
        """Write down what is done by the same transaction; `subjects` are found by it as its target is."""
        entry = self.intent(at, target_kind, target)
        finish(entry, at, changed=changed)
        insert_rows(AuditSubject, ["entry_id", *Subject._fields], [(entry.pk, *each) for each in subjects])
        return entry

    def error_groups(self) -> list[Subject]:
        """The error group whose dead letters were asked for, if it was one."""
        chosen = self.detail.get("filter", self.detail)
        return [Subject("error-group", str(chosen["fingerprint"]))] if "fingerprint" in chosen else []


def finish(entry: AuditEntry, at: datetime, *, changed: int, failed: str = "") -> None:
    """Write down what came of an intent."""
    entry.outcome = AuditEntry.Outcome.FAILED if failed else AuditEntry.Outcome.DONE
    entry.outcome_detail = failed
    entry.changed = changed
    entry.finished_at = at
    entry.save(update_fields=["outcome", "outcome_detail", "changed", "finished_at"])


def move(ids: Collection[int], sources: Collection[str], target: str, counts: Counts, **changes: Any) -> list[int]:
    """Set the status of those dead letters that are in one of `sources`; returns which. Belongs into a transaction.

    `changes` are set beside the status. The caller applies `counts` when it is done.
    """
    found = list(
        DeadLetter.objects.select_for_update()
        .filter(pk__any_of=ids, status__in=sources, purged_at=None)
        .order_by("pk")
        .values_list("pk", "status", "fingerprint", "topic", "group")
    )
    moved = [row[0] for row in found]
    if moved:
        DeadLetter.objects.filter(pk__any_of=moved).update(status=target, **changes)
    for _, before, *spot in found:
        counts.add(Spot(*spot), before, -1)
        counts.add(Spot(*spot), target)
    return moved


def discard(ids: Sequence[int], act: Act, at: datetime) -> list[int]:
    """Discard those of the dead letters that are open; returns which. They can be restored until the purge."""
    return _change(
        ids,
        [LetterStatus.OPEN],
        LetterStatus.DISCARDED,
        act,
        at,
        discarded_at=at,
        discarded_by=act.who[:200],
        discard_reason=act.why,
    )


def restore(ids: Sequence[int], act: Act, at: datetime) -> list[int]:
    """Open those of the dead letters again that are discarded; returns which."""
    nobody = {"discarded_at": None, "discarded_by": "", "discard_reason": ""}
    return _change(ids, [LetterStatus.DISCARDED], LetterStatus.OPEN, act, at, **nobody)


def begin_replay(ids: Sequence[int], replay: Replay, who: str, at: datetime) -> list[int]:
    """Take those of the dead letters for a replay that are open; returns which. Belongs into a transaction."""
    counts = Counts()
    found = list(
        DeadLetter.objects.select_for_update()
        .filter(pk__any_of=ids, status=LetterStatus.OPEN, purged_at=None)
        .order_by("pk")
        .values_list("pk", "replayed_times", *Spot._fields)
    )
    if not found:
        return []
    DeadLetter.objects.filter(pk__any_of=[row[0] for row in found]).update(
        status=LetterStatus.REPLAYING,
        replay=replay,
        replayed_at=at,
        replayed_by=who[:200],
        replayed_times=F("replayed_times") + 1,
    )
    for _, times, *names in found:
        spot = Spot(*names)
        counts.add(spot, LetterStatus.OPEN, -1)
        counts.add(spot, LetterStatus.REPLAYING)
        if not times:
            counts.add_to(spot.fingerprint, "replayed")
    for fingerprint in {row[2] for row in found}:
        counts.mark(fingerprint, "last_replayed_at", at)
    counts.apply()
    return [row[0] for row in found]


def undo_replay(ids: Sequence[int]) -> list[int]:
    """Open those again that were taken for a replay and not sent; returns which. Belongs into a transaction."""
    counts = Counts()
    moved = move(
        ids,
        [LetterStatus.REPLAYING],
        LetterStatus.OPEN,
        counts,
        replay=None,
        replayed_at=None,
        replayed_by="",
        replayed_times=Greatest(F("replayed_times") - 1, Value(0)),
    )
    unreplayed = DeadLetter.objects.filter(pk__any_of=moved, replayed_times=0)
    for fingerprint in unreplayed.values_list("fingerprint", flat=True):
        counts.add_to(fingerprint, "replayed", -1)
    counts.apply()
    return moved


def resolve(ids: Sequence[int], at: datetime) -> list[int]:
    """Their replayed events were handled; returns whose status that changed. Belongs into a transaction."""
    counts = Counts()
    moved = move(ids, [LetterStatus.REPLAYING], LetterStatus.RESOLVED, counts, resolved_at=at)
    counts.apply()
    return moved


def _change(
    ids: Sequence[int], sources: Collection[str], target: str, act: Act, at: datetime, **changes: Any
) -> list[int]:
    moved: list[int] = []
    # One after the other: rows of a batch aren't locked for longer than its transaction takes, and each batch has an
    # audit entry of its own, so that none is changed without one when the process dies between two.
    for some in batches(ids):
        with transaction.atomic():
            counts = Counts()
            these = move(some, sources, target, counts, **changes)
            counts.apply()
            if these:
                target_id = str(these[0]) if len(these) == 1 else ""
                detail = {**act.detail, "changed": these}
                subjects = [] if target_id else [Subject("dead-letter", str(pk)) for pk in these]
                subjects += act.error_groups()
                Act(act.who, act.what, act.why, detail).done(at, "dead-letter", target_id, len(these), subjects)
        moved += these
    return moved


def batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """The ids in portions that one statement takes."""
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]
