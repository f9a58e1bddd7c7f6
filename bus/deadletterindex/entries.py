"""Puts a batch of entries into the tables. Said twice, everything is as if it was said once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from bus.deadletterindex.counts import Counts, Spot
from bus.deadletterindex.rows import Entry, Identity
from bus.models import DeadLetter, DeadLetterPayload, DeadLetterPosition, LetterStatus

_CONTENT: Final = (
    "topic",
    "event_type",
    "key",
    "has_key",
    "correlation_id",
    "reason",
    "error_type",
    "error_message",
    "fingerprint",
    "attempts",
    "first_failed_at",
    "last_failed_at",
    "size",
    "cluster",
    "dlq_topic",
    "dlq_partition",
    "dlq_offset",
    "has_left_kafka",
)
"""What a row has from its record; the rest is what became of it."""

_KNOWN: Final = (
    "id",
    "event_id",
    "group",
    "generation",
    "status",
    "cluster",
    "dlq_topic",
    "dlq_partition",
    "dlq_offset",
    "fingerprint",
    "topic",
    "previous_id",
)


class Entries:
    """A batch of the index. Belongs into the transaction that moves the positions."""

    def __init__(self, entries: Sequence[Entry], now: datetime) -> None:
        self._entries = entries
        self._now = now
        self._counts = Counts()
        self._known: dict[Identity, DeadLetter] = {}

    def save(self) -> None:
        """Insert what is new, note further positions, link generations, count."""
        event_ids = list({entry.identity.event_id for entry in self._entries})
        # All generations of these events, so that what failed again is linked in whatever order it is read.
        for letter in DeadLetter.objects.filter(event_id__in=event_ids).only(*_KNOWN):
            self._known[_identity(letter)] = letter
        new: dict[Identity, Entry] = {}
        again: dict[Identity, Entry] = {}
        for entry in self._entries:
            if entry.identity in self._known:
                _keep_first(again, entry)
            else:
                _keep_first(new, entry)
        self._insert(new)
        for identity, entry in again.items():
            self._update(self._known[identity], entry)
        DeadLetterPosition.objects.bulk_create(
            [self._position(entry) for entry in self._entries], ignore_conflicts=True
        )
        self._link(list(new))
        self._counts.apply()

    def _insert(self, new: dict[Identity, Entry]) -> None:
        entries = list(new.values())
        letters = DeadLetter.objects.bulk_create([entry.letter for entry in entries])
        for entry, letter in zip(entries, letters, strict=True):
            entry.payload.dead_letter_id = letter.pk
            self._known[entry.identity] = letter
            self._count(entry)
        DeadLetterPayload.objects.bulk_create([entry.payload for entry in entries])

    def _count(self, entry: Entry) -> None:
        letter = entry.letter
        self._counts.seen(entry.kind, letter.first_failed_at)
        self._counts.seen(entry.kind, letter.last_failed_at)
        self._counts.add(_spot(letter), LetterStatus.OPEN)
        if letter.generation:
            self._counts.add_to(letter.fingerprint, "replayed")
            self._counts.add_to(letter.fingerprint, "came_back")
            self._counts.mark(letter.fingerprint, "came_back_at", letter.last_failed_at)

    def _update(self, known: DeadLetter, entry: Entry) -> None:
        """A record that was seen before, or another one of the same dead letter: the first place counts."""
        is_alive = known.cluster == entry.letter.cluster
        if is_alive and _order(known) <= _order(entry.letter):
            return
        content = {name: getattr(entry.letter, name) for name in _CONTENT}
        DeadLetter.objects.filter(pk=known.pk).update(**content)
        payload = {"value": entry.payload.value, "key": entry.payload.key, "headers": entry.payload.headers}
        DeadLetterPayload.objects.update_or_create(dead_letter_id=known.pk, defaults=payload)
        self._counts.seen(entry.kind, entry.letter.last_failed_at)
        if _spot(known) != _spot(entry.letter):
            self._counts.add(_spot(known), known.status, -1)
            self._counts.add(_spot(entry.letter), known.status)
        for name in ("cluster", "dlq_topic", "dlq_partition", "dlq_offset", "fingerprint", "topic"):
            setattr(known, name, content[name])

    def _position(self, entry: Entry) -> DeadLetterPosition:
        return DeadLetterPosition(
            dead_letter=self._known[entry.identity], cluster=entry.letter.cluster, **entry.place._asdict()
        )

    def _link(self, added: Sequence[Identity]) -> None:
        """Point each generation to the one before, which it stands for from now on."""
        for identity in added:
            for newer in (identity, identity._replace(generation=identity.generation + 1)):
                letter = self._known.get(newer)
                previous = self._known.get(newer._replace(generation=newer.generation - 1))
                if letter is None or previous is None or letter.previous_id == previous.pk:
                    continue
                letter.previous_id = previous.pk
                DeadLetter.objects.filter(pk=letter.pk).update(previous=previous)
                self._supersede(previous)

    def _supersede(self, previous: DeadLetter) -> None:
        # Read again: what is known was read without a lock, and people change it.
        status = DeadLetter.objects.select_for_update().values_list("status", flat=True).get(pk=previous.pk)
        if status == LetterStatus.SUPERSEDED:
            return
        DeadLetter.objects.filter(pk=previous.pk).update(status=LetterStatus.SUPERSEDED)
        self._counts.add(_spot(previous), status, -1)
        self._counts.add(_spot(previous), LetterStatus.SUPERSEDED)


def _identity(letter: DeadLetter) -> Identity:
    return Identity(letter.event_id, letter.group, letter.generation)


def _spot(letter: DeadLetter) -> Spot:
    return Spot(letter.fingerprint, letter.topic, letter.group)


def _order(letter: DeadLetter) -> tuple[Any, ...]:
    return letter.dlq_topic, letter.dlq_partition, letter.dlq_offset


def _keep_first(entries: dict[Identity, Entry], entry: Entry) -> None:
    """Of several records of one dead letter keep that with the first place, whatever order they are read in."""
    present = entries.get(entry.identity)
    if present is None or _order(entry.letter) < _order(present.letter):
        entries[entry.identity] = entry
