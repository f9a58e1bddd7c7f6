"""One batch: taken by one conditional update, sent, and settled by another.

The items of a replay go in their order, so what is taken is a range of them: those that wait, up to `taken_to`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import F, Q

from bus import catalog
from bus.deadletterindex import changes
from bus.models import DeadLetter, LetterStatus, Replay, ReplayItem
from bus.replay.lease import Ends, Holding
from bus.replay.records import Item, Outgoing, with_letters

State = ReplayItem.State
_NOTHING_TAKEN: Final[dict[str, Any]] = {"batch_ends": {}, "taken_to": 0}
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024


@dataclass(slots=True)
class Results:
    """What became of a batch so far. What is in neither list isn't known: it may have arrived."""

    sent: list[tuple[Outgoing, int, int]] = field(default_factory=list)
    """With partition and offset."""
    refused: list[tuple[Outgoing, str]] = field(default_factory=list)


def take(
    replay: Replay, items: Sequence[Item], ends: Ends, holding: Holding, clock: Any, now: datetime
) -> list[Item] | None:
    """Take waiting items, and their dead letters; returns those that are to be sent, None when it doesn't run any more.

    The offsets at which the topics ended are stored by the same transaction: whoever goes on after a crash reads back
    from there. Items whose dead letter was replayed or discarded by somebody else meanwhile are skipped.
    """
    if not items:
        return []
    taken_to = items[-1].sequence
    with transaction.atomic():
        # Whoever else changes waiting items changes the replay before: it isn't running then, or waits for this one.
        # A batch that is taken already is read back first: it was taken after this process looked.
        may_be = Q(state=Replay.State.RUNNING, taken_to=0)
        if not holding.write(clock, now, may_be, batch_ends=_document(ends), taken_to=taken_to):
            return None
        waiting = ReplayItem.objects.filter(replay=replay, state=State.WAITING, sequence__lte=taken_to)
        if waiting.count() < len(items):
            # They were read before: another process had the replay in the meantime.
            present = set(waiting.values_list("pk", flat=True))
            items = [item for item in items if item.pk in present]
        ids = [item.letter_id for item in items]
        mine = set(changes.begin_replay(ids, replay, replay.created_by, now))
        if len(mine) < len(items):
            # A replay of one has its dead letter since it was asked for.
            its_own = DeadLetter.objects.filter(pk__any_of=ids, status=LetterStatus.REPLAYING, replay_id=replay.pk)
            mine.update(its_own.values_list("pk", flat=True))
            others = [item for item in items if item.letter_id not in mine]
            _skip([(item.pk, _why_not(item)) for item in others], replay.pk, now)
            items = [item for item in items if item.letter_id in mine]
        if not items:
            let_go(holding, clock, now)
    return list(items)


def settle(results: Results, taken: int, holding: Holding, clock: Any, now: datetime, speed: float) -> None:
    """Write down what was sent and what was refused. `taken` is how many items the batch has.

    Raises LeaseLostError when another process has the replay: it reads back for itself what arrived.
    """
    is_whole = len(results.sent) + len(results.refused) == taken
    fields = _NOTHING_TAKEN if is_whole else {}
    with transaction.atomic():
        holding.write(clock, now, sent=F("sent") + len(results.sent), speed=speed, **fields)
        if results.sent:
            _mark_sent(results.sent, now)
        _skip([(each.item_id, why) for each, why in results.refused], holding.replay_id, now)
        changes.undo_replay([each.letter_id for each, _ in results.refused])


def let_go(holding: Holding, clock: Any, now: datetime) -> None:
    """Nothing of the batch that was taken is left."""
    holding.write(clock, now, **_NOTHING_TAKEN)


def _mark_sent(sent: Sequence[tuple[Outgoing, int, int]], now: datetime) -> None:
    """One statement for all: PostgreSQL's driver would make a round trip of each."""
    # Numbers alone, so nothing in them needs escaping, and no limit of parameters is met.
    rows = ",".join(f"({int(each.item_id)},{int(partition)},{int(offset)})" for each, partition, offset in sent)
    column = connection.ops.quote_name
    at = connection.ops.adapt_datetimefield_value(now)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE bus_replayitem SET state = %s, sent_at = %s, {column('partition')} = arrived.column2, "
            f"{column('offset')} = arrived.column3 FROM (VALUES {rows}) AS arrived "
            "WHERE bus_replayitem.id = arrived.column1 AND bus_replayitem.state = %s",
            [State.SENT.value, at, State.WAITING.value],
        )


def next_items(replay: Replay, count: int, unknown_size: int, after: int = 0) -> tuple[list[Item], list[str]]:
    """The items that are to be sent next, no more than fit into memory, and the topics they go to.

    `after` is the sequence of the last one before them, `unknown_size` the bytes of a value that is only at its origin.
    """
    waiting = ReplayItem.objects.filter(replay=replay, state=State.WAITING, sequence__gt=after).order_by("sequence")
    items = with_letters(waiting.values_list("pk", "sequence", "dead_letter_id")[:count])
    topics: set[str] = set()
    size = 0
    for index, item in enumerate(items):
        if size > MAX_BATCH_BYTES:
            return items[:index], sorted(topics)
        if (letter := item.letter) is not None:
            topics.add(catalog.replay_topic(letter.group) if letter.group else letter.topic)
            size += letter.size or unknown_size
    return items, sorted(topics)


def taken_items(replay: Replay) -> list[Item]:
    """The items of a batch that somebody took and didn't settle."""
    if not replay.taken_to:
        return []
    waiting = ReplayItem.objects.filter(replay=replay, state=State.WAITING)
    taken = waiting.filter(sequence__lte=replay.taken_to).order_by("sequence")
    return with_letters(taken.values_list("pk", "sequence", "dead_letter_id"))


def ends_of(replay: Replay) -> Ends:
    """Where the topics ended before the batch that is taken."""
    return {
        topic: {int(partition): offset for partition, offset in places.items()}
        for topic, places in replay.batch_ends.items()
    }


def _document(ends: Ends) -> dict[str, dict[str, int]]:
    return {topic: {str(partition): offset for partition, offset in places.items()} for topic, places in ends.items()}


def _skip(items: Iterable[tuple[int, str]], replay_id: int, now: datetime) -> None:
    by_reason: dict[str, list[int]] = {}
    for pk, why in items:
        by_reason.setdefault(why, []).append(pk)
    for why, ids in by_reason.items():
        skipped = ReplayItem.objects.filter(pk__any_of=ids, state=State.WAITING).update(
            state=State.SKIPPED, note=why, finished_at=now
        )
        Replay.objects.filter(pk=replay_id).update(skipped=F("skipped") + skipped)


def _why_not(item: Item) -> str:
    letter = DeadLetter.objects.filter(pk=item.letter_id).first()
    if letter is None:
        return "the dead letter is gone"
    by = letter.discarded_by if letter.status == LetterStatus.DISCARDED else letter.replayed_by
    return f"the dead letter is {letter.status} meanwhile" + (f", by {by}" if by else "")
