"""The counts of error groups, kept with every change of a dead letter, in the same transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count, F, Max, Min, Q, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Greatest, Least

from bus.deadletterindex.fingerprint import Kind
from bus.models import DeadLetter, ErrorGroup, ErrorGroupPlace, LetterStatus

_BATCH = 500


class Spot(NamedTuple):
    """Where a dead letter counts."""

    fingerprint: str
    topic: str
    group: str


class Counts:
    """What a transaction changes in the counts, applied at its end.

    Groups are changed in the order of their fingerprints, so that two transactions never wait for each other in turn.
    """

    def __init__(self) -> None:
        self._places: dict[Spot, Counter[str]] = {}
        self._groups: dict[str, Counter[str]] = {}
        self._seen: dict[str, tuple[Kind, datetime, datetime]] = {}
        self._marks: dict[str, dict[str, datetime]] = {}

    def seen(self, kind: Kind, at: datetime) -> None:
        """A failure of this kind happened at `at`; its group is made when it is the first."""
        _, first, last = self._seen.get(kind.fingerprint, (kind, at, at))
        self._seen[kind.fingerprint] = kind, min(first, at), max(last, at)

    def add(self, spot: Spot, status: str, count: int = 1) -> None:
        """So many dead letters more in that status; negative: fewer."""
        self._places.setdefault(spot, Counter())[status] += count
        self._groups.setdefault(spot.fingerprint, Counter())[status] += count

    def add_to(self, fingerprint: str, name: str, count: int = 1) -> None:
        """The same for `replayed` and `came_back`, which only groups have."""
        self._groups.setdefault(fingerprint, Counter())[name] += count

    def mark(self, fingerprint: str, name: str, at: datetime) -> None:
        """`last_replayed_at` or `came_back_at` is at least this."""
        marks = self._marks.setdefault(fingerprint, {})
        marks[name] = max(at, marks.get(name, at))

    def apply(self) -> None:
        """Write everything. Belongs into the transaction that changes the dead letters."""
        self._make_groups()
        for fingerprint in sorted({*self._groups, *self._seen, *self._marks}):
            changes = _increments(self._groups.get(fingerprint, Counter()))
            if fingerprint in self._seen:
                _, first, last = self._seen[fingerprint]
                changes["first_seen_at"] = Least(F("first_seen_at"), Value(first))
                changes["last_seen_at"] = Greatest(F("last_seen_at"), Value(last))
            changes.update(self._marks.get(fingerprint, {}))
            if changes:
                ErrorGroup.objects.filter(pk=fingerprint).update(**changes)
        for spot in sorted(self._places):
            changes = _increments(self._places[spot])
            if changes and not ErrorGroupPlace.objects.filter(**spot._asdict()).update(**changes):
                first_counts = {name: max(0, count) for name, count in self._places[spot].items()}
                ErrorGroupPlace.objects.create(**spot._asdict(), **first_counts)

    def _make_groups(self) -> None:
        wanted = sorted(self._seen)
        for start in range(0, len(wanted), _BATCH):
            ErrorGroup.objects.bulk_create(
                [
                    ErrorGroup(
                        fingerprint=kind.fingerprint,
                        error_type=kind.error_type,
                        message=kind.message,
                        frame=kind.frame,
                        first_seen_at=first,
                        last_seen_at=last,
                    )
                    for kind, first, last in (self._seen[name] for name in wanted[start : start + _BATCH])
                ],
                ignore_conflicts=True,
            )


def recount() -> None:
    """Count everything anew, for when rows were changed past this module; belongs into a transaction.

    Groups without dead letters go, unless somebody wrote a note.
    """
    statuses: dict[str, Any] = {status.value: Count("pk", filter=Q(status=status)) for status in LetterStatus}
    ErrorGroupPlace.objects.all().delete()
    places = DeadLetter.objects.values("fingerprint", "topic", "group").annotate(**statuses)
    ErrorGroupPlace.objects.bulk_create([ErrorGroupPlace(**place) for place in places], batch_size=_BATCH)
    ErrorGroup.objects.update(**dict.fromkeys([*LetterStatus.values, "replayed", "came_back"], 0))
    groups = DeadLetter.objects.values("fingerprint").annotate(
        **statuses,
        replayed=Count("pk", filter=Q(replayed_times__gt=0)),
        came_back=Count("pk", filter=Q(generation__gt=0)),
        first_seen_at=Min("first_failed_at"),
        last_seen_at=Max("last_failed_at"),
    )
    for group in groups:
        counted = {name: value for name, value in group.items() if name != "fingerprint"}
        ErrorGroup.objects.filter(pk=group["fingerprint"]).update(**counted)
    forget_empty_groups()


def forget_empty_groups(among: Iterable[str] | None = None) -> None:
    """Delete groups that have no dead letters any more, unless somebody wrote a note or owns them."""
    empty = ErrorGroup.objects.filter(note="", owner="", **dict.fromkeys(LetterStatus.values, 0))
    if among is not None:
        empty = empty.filter(pk__in=list(among))
    fingerprints = list(empty.values_list("pk", flat=True))
    for start in range(0, len(fingerprints), _BATCH):
        some = fingerprints[start : start + _BATCH]
        ErrorGroupPlace.objects.filter(fingerprint__in=some).delete()
        ErrorGroup.objects.filter(pk__in=some).delete()


def _increments(counts: Counter[str]) -> dict[str, Any]:
    changes: dict[str, Combinable] = {}
    for name, count in counts.items():
        if count > 0:
            changes[name] = F(name) + count
        elif count < 0:
            # A count that is wrong must not keep anybody from changing a dead letter.
            changes[name] = Greatest(F(name) + count, Value(0))
    return changes
