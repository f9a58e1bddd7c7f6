"""Rows leave the index when their record has left Kafka, unless they are kept; discarded ones lose their payload.

A dead letter that is being replayed stays until its outcome is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import QuerySet

from bus.deadletterindex.counts import Counts, Spot, forget_empty_groups
from bus.kafka.consumer import Partition
from bus.models import DeadLetter, DeadLetterPayload, DeadLetterPosition, LetterStatus

BATCH: Final = 500
NOWHERE: Final = ""
"""The cluster of a row whose record wasn't found again yet."""


def prune(cluster: str, firsts: Mapping[Partition, int]) -> int:
    """Drop what Kafka has deleted: places before the first offset, and rows without another; returns how many."""
    dropped = 0
    for (topic, partition), first in firsts.items():
        if not first:
            continue
        further = DeadLetterPosition.objects.filter(topic=topic, partition=partition, offset__lt=first)
        further.filter(cluster=cluster).delete()
        expired = DeadLetter.objects.filter(dlq_topic=topic, dlq_partition=partition, dlq_offset__lt=first)
        expired = expired.filter(cluster=cluster, has_left_kafka=False).exclude(status=LetterStatus.REPLAYING)
        while True:
            with transaction.atomic():
                ids = _locked(expired, "dlq_offset")
                if not ids:
                    break
                dropped += _leave(ids)
    return dropped


def drop_strays(cluster: str) -> int:
    """Drop rows whose record wasn't found in this cluster, once all of it is read; returns how many."""
    dropped = 0
    DeadLetterPosition.objects.exclude(cluster=cluster).delete()
    strays = DeadLetter.objects.exclude(cluster=cluster).exclude(status=LetterStatus.REPLAYING)
    while True:
        with transaction.atomic():
            ids = _locked(strays.filter(has_left_kafka=False), "pk")
            if not ids:
                return dropped
            dropped += _leave(ids)


def has_strays(cluster: str) -> bool:
    """Whether there are rows whose record wasn't found in this cluster, and which aren't kept without it."""
    return DeadLetter.objects.exclude(cluster=cluster).filter(has_left_kafka=False).exists()


def forget_partition(cluster: str, topic: str, partition: int) -> None:
    """The partition was made anew, or is gone: what was read has to be found again. Belongs into a transaction."""
    DeadLetterPosition.objects.filter(cluster=cluster, topic=topic, partition=partition).delete()
    DeadLetter.objects.filter(cluster=cluster, dlq_topic=topic, dlq_partition=partition).update(cluster=NOWHERE)


def purge(older_than: timedelta, now: datetime) -> int:
    """Delete the payloads of what was discarded so long ago; it can't be restored any more. Returns how many."""
    due = DeadLetter.objects.filter(
        status=LetterStatus.DISCARDED, purged_at=None, discarded_at__lt=now - older_than, kept=False
    )
    purged = 0
    while True:
        with transaction.atomic():
            ids = list(due.select_for_update().order_by("pk").values_list("pk", flat=True)[:BATCH])
            if not ids:
                return purged
            DeadLetterPayload.objects.filter(pk__any_of=ids).delete()
            # The row stays while Kafka has the record: reading it again must not bring it back.
            DeadLetter.objects.filter(pk__any_of=ids).update(purged_at=now)
            purged += len(ids)


def _locked(leaving: QuerySet[DeadLetter], order: str) -> list[int]:
    """Some of these rows, locked: those that are still such when nobody else is at them any more.

    A row that another process has moved to its next place meanwhile has no further place, and yet doesn't leave.
    """
    ids = list(leaving.order_by(order).values_list("pk", flat=True)[:BATCH])
    # In the order in which everybody locks: nobody waits for each other in turn.
    return list(leaving.filter(pk__any_of=ids).select_for_update().order_by("pk").values_list("pk", flat=True))


def _leave(ids: Sequence[int]) -> int:
    """Delete those of the rows, which are locked, that have no further place, or mark them when they are kept.

    Others are at their next place from now on.
    """
    lost = DeadLetter.objects.filter(pk__any_of=ids, positions=None)
    lost.filter(kept=True).update(has_left_kafka=True)
    rows = lost.filter(kept=False).select_for_update(of=("self",))
    gone = list(rows.values_list("pk", "fingerprint", "topic", "group", "status", "replayed_times", "generation"))
    counts = Counts()
    for _, fingerprint, topic, group, status, replayed_times, generation in gone:
        counts.add(Spot(fingerprint, topic, group), status, -1)
        counts.add_to(fingerprint, "replayed", -int(replayed_times > 0))
        counts.add_to(fingerprint, "came_back", -int(generation > 0))
    DeadLetter.objects.filter(pk__any_of=[row[0] for row in gone]).delete()
    counts.apply()
    forget_empty_groups(_distinct(row[1] for row in gone))
    _repoint(ids)
    return len(gone)


def _repoint(ids: Sequence[int]) -> None:
    """Rows whose place is gone, but that were written twice, are at their next one."""
    moved: set[int] = set()
    for place in DeadLetterPosition.objects.filter(dead_letter__in=ids).order_by("topic", "partition", "offset"):
        if place.dead_letter_id not in moved:
            moved.add(place.dead_letter_id)
            DeadLetter.objects.filter(pk=place.dead_letter_id).update(
                dlq_topic=place.topic, dlq_partition=place.partition, dlq_offset=place.offset, cluster=place.cluster
            )
            place.delete()


def _distinct(names: Iterable[str]) -> list[str]:
    return sorted(set(names))
