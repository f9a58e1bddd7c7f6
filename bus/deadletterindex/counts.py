"""The counts of error groups, kept with every change of a dead letter, in the same transaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

from django.db.models import Count, Max, Min, Q

from bus.deadletterindex.bulk import add_to_rows, insert_or_add, insert_rows
from bus.deadletterindex.fingerprint import Kind
from bus.models import DeadLetter, ErrorGroup, ErrorGroupPlace, LetterStatus

_BATCH: Final = 500
_COUNTS: Final = tuple(LetterStatus.values)
_GROUP_COUNTS: Final = (*_COUNTS, "replayed", "came_back")
_TIMES: Final = {"first_seen_at": "<", "last_seen_at": ">", "last_replayed_at": ">", "came_back_at": ">"}


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
        self._places: defaultdict[Spot, Counter[str]] = defaultdict(Counter)
        self._groups: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._seen: dict[str, tuple[Kind, datetime, datetime]] = {}
        self._marks: dict[str, dict[str, datetime]] = {}

    def seen(self, kind: Kind, first: datetime, last: datetime) -> None:
        """A failure of this kind happened first and last then; its group is made when it is the first of its kind."""
        before = self._seen.get(kind.fingerprint)
        if before is not None:
            first, last = min(first, before[1]), max(last, before[2])
        self._seen[kind.fingerprint] = kind, first, last

    def add(self, spot: Spot, status: str, count: int = 1) -> None:
        """So many dead letters more in that status; negative: fewer."""
        self._places[spot][status] += count
        self._groups[spot.fingerprint][status] += count

    def add_to(self, fingerprint: str, name: str, count: int = 1) -> None:
        """The same for `replayed` and `came_back`, which only groups have."""
        self._groups[fingerprint][name] += count

    def mark(self, fingerprint: str, name: str, at: datetime) -> None:
        """`last_replayed_at` or `came_back_at` is at least this."""
        marks = self._marks.setdefault(fingerprint, {})
        marks[name] = max(at, marks.get(name, at))

    def apply(self) -> None:
        """Write everything. Belongs into the transaction that changes the dead letters."""
        for some in _batches(sorted({*self._groups, *self._seen, *self._marks})):
            # In order, and before their places: two transactions never wait for each other in turn.
            there = ErrorGroup.objects.select_for_update().filter(pk__any_of=some).order_by("pk")
            self._make_groups(set(some) - set(there.values_list("pk", flat=True)))
            add_to_rows(ErrorGroup, ["fingerprint"], _GROUP_COUNTS, _TIMES, [self._group_row(each) for each in some])
        rows: list[tuple[Any, ...]] = [
            (*spot, *(counts[name] for name in _COUNTS)) for spot, counts in sorted(self._places.items())
        ]
        keys = ["fingerprint", "topic", "group"]
        insert_or_add(ErrorGroupPlace, keys, _COUNTS, [row for row in rows if min(row[3:]) >= 0])
        add_to_rows(ErrorGroupPlace, keys, _COUNTS, {}, [row for row in rows if min(row[3:]) < 0])

    def _group_row(self, fingerprint: str) -> tuple[Any, ...]:
        counts, marks = self._groups.get(fingerprint, Counter()), self._marks.get(fingerprint, {})
        _, first, last = self._seen.get(fingerprint, (None, None, None))
        times = (first, last, marks.get("last_replayed_at"), marks.get("came_back_at"))
        return (fingerprint, *(counts[name] for name in _GROUP_COUNTS), *times)

    def _make_groups(self, missing: Collection[str]) -> None:
        names = ["fingerprint", "error_type", "message", "frame", "first_seen_at", "last_seen_at"]
        seen = [self._seen[each] for each in sorted(missing) if each in self._seen]
        insert_rows(ErrorGroup, names, [(*kind, first, last) for kind, first, last in seen])


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
        empty = empty.filter(pk__any_of=list(among))
    fingerprints = list(empty.values_list("pk", flat=True))
    for start in range(0, len(fingerprints), _BATCH):
        some = fingerprints[start : start + _BATCH]
        ErrorGroupPlace.objects.filter(fingerprint__in=some).delete()
        ErrorGroup.objects.filter(pk__any_of=some).delete()


Item = TypeVar("Item")


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
