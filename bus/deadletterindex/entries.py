"""Puts a batch of entries into the tables. Said twice, everything is as if it was said once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Final

from bus.deadletterindex.bulk import insert_rows, reserve_ids
from bus.deadletterindex.counts import Counts, Spot
from bus.deadletterindex.rows import Entry, Identity, LetterRow, PayloadRow, Place
from bus.models import DeadLetter, DeadLetterPayload, DeadLetterPosition, LetterStatus

_COLUMNS: Final = [each.name for each in fields(LetterRow)]
_ROW: Final = attrgetter(*_COLUMNS)
_OF_PEOPLE: Final = {"event_id", "group", "generation", "replayed_times", "failed_again_times", "indexed_at"}
_CONTENT: Final = [name for name in _COLUMNS if name not in _OF_PEOPLE]
"""What is taken anew from a record that is read again; the rest says which it is and what became of it."""
_IN_HAND: Final = (LetterStatus.OPEN, LetterStatus.REPLAYING)
_DONE_WITH: Final = (LetterStatus.RESOLVED, LetterStatus.DISCARDED, LetterStatus.SUPERSEDED)


@dataclass(slots=True)
class Known:
    """What is known of a row that is there."""

    pk: int
    cluster: str
    place: Place
    spot: Spot
    previous: int | None
    has_left_kafka: bool = False
    """It is kept without a record."""
    found_at: tuple[str, Place] | None = None
    """Cluster and place of the row before this batch; None when it is new."""

    @property
    def at(self) -> tuple[str, Place]:
        """Its cluster and place."""
        return self.cluster, self.place


class Entries:
    """A batch of the index. Belongs into the transaction that moves the positions."""

    def __init__(self, entries: Sequence[Entry], now: datetime) -> None:
        self._entries = entries
        self._now = now
        self._counts = Counts()
        self._known: dict[Identity, Known] = {}
        self._further: dict[tuple[str, Place], int] = {}

    def save(self) -> None:
        """Insert what is new, note further positions, link generations, count."""
        # All generations of these events, so that what failed again is linked in whatever order it is read.
        event_ids = list({entry.identity.event_id for entry in self._entries})
        self._known = _known(event_ids)
        new: dict[Identity, Entry] = {}
        again: dict[Identity, Entry] = {}
        for entry in self._entries:
            _keep_first(again if entry.identity in self._known else new, entry)
        self._insert(new)
        for identity, entry in again.items():
            self._update(self._known[identity], entry)
        for entry in self._entries:
            if entry.is_handled_again and entry.identity in again:
                self._reopen(self._known[entry.identity], entry)
        self._insert_further_places()
        self._link(new)
        self._counts.apply()

    def _insert(self, new: dict[Identity, Entry]) -> None:
        if not new:
            return
        ids = reserve_ids(DeadLetter, len(new))
        for pk, (identity, entry) in zip(ids, new.items(), strict=True):
            spot = _spot(entry.letter)
            self._known[identity] = Known(pk, entry.letter.cluster, entry.place, spot, None)
            self._count(entry, spot)
        letters = [(pk, *_ROW(entry.letter)) for pk, entry in zip(ids, new.values(), strict=True)]
        insert_rows(DeadLetter, ["id", *_COLUMNS], letters, are_new=True)
        names = ["dead_letter_id", *PayloadRow._fields]
        rows = [(self._known[identity].pk, *entry.payload) for identity, entry in new.items()]
        insert_rows(DeadLetterPayload, names, rows, are_new=True)

    def _insert_further_places(self) -> None:
        for entry in self._entries:
            known = self._known[entry.identity]
            if (at := (entry.letter.cluster, entry.place)) != known.at:
                self._further[at] = known.pk
        names = ["dead_letter_id", "cluster", *Place._fields]
        rows = [(pk, cluster, *place) for (cluster, place), pk in self._further.items()]
        insert_rows(DeadLetterPosition, names, rows)

    def _move(self, known: Known, entry: Entry, spot: Spot) -> None:
        """The row is at the entry's place from now on; where it was is a further place of it."""
        if known.cluster == entry.letter.cluster and not known.has_left_kafka:
            self._further[known.at] = known.pk
        known.cluster, known.place, known.spot = entry.letter.cluster, entry.place, spot
        known.has_left_kafka = False

    def _count(self, entry: Entry, spot: Spot) -> None:
        letter = entry.letter
        self._counts.seen(entry.kind, letter.first_failed_at, letter.last_failed_at)
        self._counts.add(spot, LetterStatus.OPEN)
        if letter.generation:
            self._counts.add_to(letter.fingerprint, "replayed")
            self._counts.add_to(letter.fingerprint, "came_back")
            self._counts.mark(letter.fingerprint, "came_back_at", letter.last_failed_at)

    def _update(self, known: Known, entry: Entry) -> None:
        """A record that was seen before, or another one of the same dead letter: the first place counts."""
        if known.cluster == entry.letter.cluster and known.place <= entry.place and not known.has_left_kafka:
            return
        # Locked: people change its status, which is what it counts as.
        row = DeadLetter.objects.select_for_update().filter(pk=known.pk).values_list("status", "purged_at").first()
        if row is None:
            return
        status, purged_at = row
        content = {name: getattr(entry.letter, name) for name in _CONTENT}
        DeadLetter.objects.filter(pk=known.pk).update(**content, has_left_kafka=False)
        if purged_at is None:
            DeadLetterPayload.objects.update_or_create(dead_letter_id=known.pk, defaults=entry.payload._asdict())
        spot = _spot(entry.letter)
        self._counts.seen(entry.kind, entry.letter.last_failed_at, entry.letter.last_failed_at)
        if known.spot != spot:
            self._counts.add(known.spot, status, -1)
            self._counts.add(spot, status)
        self._move(known, entry, spot)

    def _reopen(self, known: Known, entry: Entry) -> None:
        """Its group handled the event again, in a new epoch, and failed once more: that it was done with is no more so.

        A record that was seen before changes nothing, whatever became of the dead letter since; nor does one that is
        older than that, which is read again when the index is made anew.
        """
        where = {"cluster": entry.letter.cluster, **entry.place._asdict()}
        is_there = known.found_at == (entry.letter.cluster, entry.place)
        if is_there or DeadLetterPosition.objects.filter(**where).exists():
            return
        names = ("status", "resolved_at", "discarded_at", "replayed_at")
        row = DeadLetter.objects.select_for_update().filter(pk=known.pk).values_list(*names).first()
        if row is None or row[0] not in _DONE_WITH:
            return
        if any(at is not None and at >= entry.letter.last_failed_at for at in row[1:]):
            return
        event_id, group, generation = entry.identity
        alive = DeadLetter.objects.filter(event_id=event_id, group=group, status__in=_IN_HAND)
        # One that stands for all generations of the event is enough.
        if alive.filter(generation__gt=generation).exists():
            return
        content = {name: getattr(entry.letter, name) for name in _CONTENT}
        DeadLetter.objects.filter(pk=known.pk).update(
            **content,
            status=LetterStatus.OPEN,
            has_left_kafka=False,
            resolved_at=None,
            discarded_at=None,
            discarded_by="",
            discard_reason="",
            purged_at=None,
        )
        DeadLetterPayload.objects.update_or_create(dead_letter_id=known.pk, defaults=entry.payload._asdict())
        spot = _spot(entry.letter)
        self._counts.seen(entry.kind, entry.letter.first_failed_at, entry.letter.last_failed_at)
        self._counts.add(known.spot, row[0], -1)
        self._counts.add(spot, LetterStatus.OPEN)
        self._move(known, entry, spot)
        if (previous := self._known.get(Identity(event_id, group, generation - 1))) is not None:
            self._supersede(previous)

    def _link(self, added: Iterable[Identity]) -> None:
        """Point each generation to the one before, which it stands for from now on."""
        for identity in added:
            event_id, group, generation = identity
            # Plain tuples are equal to identities; nearly all of them find nothing.
            for newer in (generation, generation + 1) if generation else (1,):
                letter = self._known.get((event_id, group, newer))  # type: ignore[call-overload]
                previous = self._known.get((event_id, group, newer - 1))  # type: ignore[call-overload]
                if letter is None or previous is None or letter.previous == previous.pk:
                    continue
                letter.previous = previous.pk
                DeadLetter.objects.filter(pk=letter.pk).update(previous=previous.pk)
                self._supersede(previous)

    def _supersede(self, previous: Known) -> None:
        # Read again: what is known was read without a lock, and people change it.
        row = DeadLetter.objects.select_for_update().filter(pk=previous.pk).values_list("status").first()
        if row is None or row[0] == LetterStatus.SUPERSEDED:
            return
        DeadLetter.objects.filter(pk=previous.pk).update(status=LetterStatus.SUPERSEDED)
        self._counts.add(previous.spot, row[0], -1)
        self._counts.add(previous.spot, LetterStatus.SUPERSEDED)


def _known(event_ids: Sequence[str]) -> dict[Identity, Known]:
    rows = DeadLetter.objects.filter(event_id__any_of=event_ids).values_list(
        *Identity._fields,
        "pk",
        "cluster",
        "dlq_topic",
        "dlq_partition",
        "dlq_offset",
        *Spot._fields,
        "previous_id",
        "has_left_kafka",
    )
    return {
        Identity(*row[:3]): Known(
            row[3], row[4], place := Place(*row[5:8]), Spot(*row[8:11]), row[11], row[12], (row[4], place)
        )
        for row in rows.iterator(chunk_size=2000)
    }


def _spot(letter: LetterRow) -> Spot:
    return Spot(letter.fingerprint, letter.topic, letter.group)


def _keep_first(entries: dict[Identity, Entry], entry: Entry) -> None:
    """Of several records of one dead letter keep that with the first place, whatever order they are read in."""
    present = entries.get(entry.identity)
    if present is None or entry.place < present.place:
        entries[entry.identity] = entry
