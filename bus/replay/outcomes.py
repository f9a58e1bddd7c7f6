"""What became of what was sent: from the ledger, and where that has forgotten, from commits and the index.

The ledger knows a handled event for an hour. After that: the group has committed past the replayed record, so it was
settled; and no dead letter of that generation is in the index, which has read all there is; so it was handled.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from bus import handlers
from bus.deadletterindex import changes
from bus.deadletterindex.counts import Counts
from bus.errors import BusError
from bus.ledger import GroupStatus, Ledger, Status
from bus.ledger.statuses import group_statuses
from bus.models import DeadLetter, LetterStatus, Replay, ReplayItem
from bus.replay import canary, operations, states
from bus.replay.forgotten import Forgotten
from bus.replay.states import Verb

log = logging.getLogger("bus.replay")

PAGE: Final = 1000
_PAGES_PER_STEP: Final = 5
_INDEX_SECONDS: Final = 15.0
"""How long a failure waits for its dead letter to be indexed, to be compared with the one before."""
_SILENT_AFTER: Final = timedelta(seconds=60)
_SILENT_EVERY: Final = 30.0
_CLOCKS_DIFFER: Final = timedelta(seconds=10)
"""Those of two monitors by no more than that."""


class Outcome(StrEnum):
    """What became of an item."""

    HANDLED = "handled"
    SAME_ERROR = "same error"
    OTHER_ERROR = "other error"
    PENDING = "pending"
    UNKNOWN = "unknown"
    """Nobody remembers, or nobody has begun."""
    LOST = "lost"
    """Kafka deleted the record before the group read it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An item that was sent, and what is known of its dead letter. `event_id` is what it was sent with."""

    item_id: int
    replay_id: int
    letter_id: int
    event_id: str
    group: str
    topic: str
    dlq_topic: str
    generation: int
    fingerprint: str
    error_type: str
    is_edited: bool
    partition: int
    offset: int
    sent_at: datetime


def judge(status: GroupStatus | None, generation: int) -> Status | None:
    """What the ledger says of this generation; None when it says nothing. Pure.

    A newer generation begins only with the dead letter of this one.
    """
    if status is None or status.generation < generation:
        return None
    return status.status if status.generation == generation else Status.FAILED


class Outcomes:
    """Looks at what was sent, page by page; every `step` a few pages. Used by one thread; several do no harm."""

    def __init__(
        self,
        ledger: Ledger,
        forgotten: Forgotten,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ledger = ledger
        self._forgotten = forgotten
        self._clock = clock
        self._now = now
        self._cursor = 0
        self._failed_since: dict[int, float] = {}
        self._looked_at = float("-inf")
        self._asks_kafka = False

    def step(self, replay_id: int | None = None) -> int:
        """Settle what has an outcome by now, of one replay or all; returns how many items that were.

        Raises LedgerUnavailableError and Django's DatabaseError; nothing is lost then.
        """
        settled = 0
        if self._cursor == 0:
            settled = self._forget_orphans(replay_id)
            # For all pages of this round: a hundred thousand of which nobody knows more are a hundred pages.
            self._asks_kafka = self._clock() - self._looked_at >= _SILENT_EVERY
            if self._asks_kafka:
                self._looked_at = self._clock()
        for _ in range(_PAGES_PER_STEP):
            page = self._page(replay_id)
            if page:
                settled += self._settle(page)
            if len(page) < PAGE:
                self._cursor = 0
                break
            self._cursor = page[-1].item_id
        self._decide(replay_id)
        return settled

    def _forget_orphans(self, replay_id: int | None) -> int:
        """Skip items whose dead letter has left the index: nobody can say what they were."""
        items = ReplayItem.objects.filter(state=ReplayItem.State.SENT)
        if replay_id is not None:
            items = items.filter(replay=replay_id)
        known = DeadLetter.objects.filter(pk=OuterRef("dead_letter_id"))
        orphans = list(items.filter(~Exists(known)).values_list("pk", "replay_id")[:PAGE])
        if not orphans:
            return 0
        with transaction.atomic():
            for pk, its_replay in orphans:
                mine = ReplayItem.objects.filter(pk=pk, state=ReplayItem.State.SENT)
                note = "its dead letter has left the index before the outcome was known"
                if mine.update(state=ReplayItem.State.SKIPPED, note=note, finished_at=self._now()):
                    Replay.objects.filter(pk=its_replay).update(skipped=F("skipped") + 1, sent=F("sent") - 1)
        return len(orphans)

    def _page(self, replay_id: int | None) -> list[Sent]:
        items = ReplayItem.objects.filter(state=ReplayItem.State.SENT, pk__gt=self._cursor)
        if replay_id is not None:
            items = items.filter(replay=replay_id)
        names = ("event_id", "group", "topic", "dlq_topic", "generation", "fingerprint", "error_type")
        rows = items.order_by("pk").values(
            "pk",
            "replay_id",
            "dead_letter_id",
            "partition",
            "offset",
            "sent_at",
            "edit__event_id",
            *(f"dead_letter__{name}" for name in names),
        )[:PAGE]
        return [_sent(row) for row in rows]

    def _settle(self, page: Sequence[Sent]) -> int:
        judged = self._judge(page)
        if self._asks_kafka:
            silent = [
                each
                for each, outcome in judged
                if outcome is Outcome.UNKNOWN and each.group and self._now() - each.sent_at >= _SILENT_AFTER
            ]
            if silent:
                judged = [pair for pair in judged if pair[0] not in silent] + self._judge_silent(silent)
        decided = [(each, outcome) for each, outcome in judged if outcome not in (Outcome.PENDING, Outcome.UNKNOWN)]
        return self._write(decided) if decided else 0

    def _judge(self, page: Sequence[Sent]) -> list[tuple[Sent, Outcome]]:
        grouped = [each for each in page if each.group]
        statuses = group_statuses(self._ledger, [(each.event_id, each.group) for each in grouped])
        said = {each.item_id: judge(status, each.generation) for each, status in zip(grouped, statuses, strict=True)}
        failed = [each for each in grouped if said[each.item_id] is Status.FAILED]
        newer = newer_letters(failed)
        reasons = {each.item_id: status for each, status in zip(grouped, statuses, strict=True)}
        judged: list[tuple[Sent, Outcome]] = []
        for each in page:
            if not each.group:
                judged.append((each, self._judge_all_groups(each)))
                continue
            match said[each.item_id]:
                case Status.PROCESSED:
                    judged.append((each, Outcome.HANDLED))
                case Status.FAILED:
                    letter = newer.get((each.event_id, each.group, each.generation))
                    judged.append((each, self._compare(each, letter, reasons[each.item_id])))
                case None:
                    judged.append((each, Outcome.UNKNOWN))
                case _:
                    judged.append((each, Outcome.PENDING))
        return judged

    def _compare(self, each: Sent, newer: DeadLetter | None, status: GroupStatus | None) -> Outcome:
        """Whether it failed in the same way; as long as nobody can say, it is pending."""
        if newer is not None:
            self._failed_since.pop(each.item_id, None)
            return Outcome.SAME_ERROR if newer.fingerprint == each.fingerprint else Outcome.OTHER_ERROR
        since = self._failed_since.setdefault(each.item_id, self._clock())
        if self._clock() - since < _INDEX_SECONDS:
            return Outcome.PENDING
        del self._failed_since[each.item_id]
        error = status.attempts[-1].error if status and status.attempts else None
        is_same = (error or "").partition(":")[0] == each.error_type
        return Outcome.SAME_ERROR if is_same else Outcome.OTHER_ERROR

    def _judge_all_groups(self, each: Sent) -> Outcome:
        """Of what went to a topic: handled when every group that handles the topic has."""
        groups = handlers.registry.groups_for(each.topic)
        known = group_statuses(self._ledger, [(each.event_id, group) for group in groups])
        statuses = [status.status if status else None for status in known]
        if all(status is Status.PROCESSED for status in statuses):
            return Outcome.HANDLED
        if Status.FAILED in statuses:
            return Outcome.OTHER_ERROR
        # Nobody will ever know more.
        remembered = timedelta(seconds=self._ledger.settings.dedup_seconds)
        return Outcome.HANDLED if self._now() - each.sent_at > remembered else Outcome.PENDING

    def _judge_silent(self, silent: Sequence[Sent]) -> list[tuple[Sent, Outcome]]:
        try:
            passed, lost = self._forgotten.read([(each.group, each.partition, each.offset) for each in silent])
            # Asked again: what the group committed meanwhile, it settled in the ledger before.
            judged = dict(self._judge(silent))
            dlq_topics = {each.dlq_topic for each in silent}
            complete = {topic for topic in dlq_topics if self._forgotten.is_indexed(topic)}
        except BusError as error:
            log.warning("replay_outcomes_unknown asked again in %g s: %s", _SILENT_EVERY, error)
            return [(each, Outcome.UNKNOWN) for each in silent]
        newer = newer_letters(silent)
        for each, outcome in judged.items():
            place = (each.group, each.partition, each.offset)
            if outcome is not Outcome.UNKNOWN:
                continue
            letter = newer.get((each.event_id, each.group, each.generation))
            if letter is not None:
                is_same = letter.fingerprint == each.fingerprint
                judged[each] = Outcome.SAME_ERROR if is_same else Outcome.OTHER_ERROR
            elif place in passed and each.dlq_topic in complete:
                judged[each] = Outcome.HANDLED
            elif place in lost:
                judged[each] = Outcome.LOST
        return list(judged.items())

    def _write(self, decided: Sequence[tuple[Sent, Outcome]]) -> int:
        now = self._now()
        with transaction.atomic():
            # Locked: another process may be at the same page, and each item counts once.
            mine = set(
                ReplayItem.objects.select_for_update()
                .filter(pk__any_of=[each.item_id for each, _ in decided], state=ReplayItem.State.SENT)
                .order_by("pk")
                .values_list("pk", flat=True)
            )
            settled = [(each, outcome) for each, outcome in decided if each.item_id in mine]
            by_outcome: dict[Outcome, list[Sent]] = {}
            for each, outcome in settled:
                by_outcome.setdefault(outcome, []).append(each)
            for outcome, items in by_outcome.items():
                _write_items(outcome, items, now)
            changes.resolve([each.letter_id for each in by_outcome.get(Outcome.HANDLED, [])], now)
            changes.undo_replay([each.letter_id for each in by_outcome.get(Outcome.LOST, [])])
        return len(settled)

    def _decide(self, replay_id: int | None) -> None:
        """Judge canaries, and complete what has no item without an outcome."""
        now = self._now()
        mine = Replay.objects.all() if replay_id is None else Replay.objects.filter(pk=replay_id)
        for replay in mine.filter(state=Replay.State.WAITING_FOR_CANARY):
            canary.decide(replay, now)
        ended = F("handled") + F("failed_again_same") + F("failed_again_other") + F("skipped")
        running = Q(state__in=[Replay.State.RUNNING, Replay.State.WAITING_FOR_CANARY])
        for replay in mine.filter(running, total=ended):
            with transaction.atomic():
                if states.try_change(replay.pk, Verb.COMPLETE, "the monitor", now, finished_at=now):
                    failed = replay.failed_again_same + replay.failed_again_other
                    said = f"handled {replay.handled}, failed again {failed}, skipped {replay.skipped}"
                    operations.close_audit(replay.pk, now, said)


_STATES: Final[dict[Outcome, tuple[str, str, str]]] = {
    Outcome.HANDLED: (ReplayItem.State.HANDLED, "handled", ""),
    Outcome.SAME_ERROR: (ReplayItem.State.FAILED_AGAIN, "failed_again_same", "the same error"),
    Outcome.OTHER_ERROR: (ReplayItem.State.FAILED_AGAIN, "failed_again_other", "another error"),
    Outcome.LOST: (ReplayItem.State.SKIPPED, "skipped", "Kafka deleted it before the group read it"),
}
"""Per outcome the item's state, the replay's count, and the note."""


def _write_items(outcome: Outcome, items: Sequence[Sent], now: datetime) -> None:
    state, name, note = _STATES[outcome]
    ReplayItem.objects.filter(pk__any_of=[each.item_id for each in items]).update(
        state=state, finished_at=now, note=note
    )
    counts: dict[int, int] = {}
    for each in items:
        counts[each.replay_id] = counts.get(each.replay_id, 0) + 1
    for replay_id, count in sorted(counts.items()):
        fields: dict[str, Any] = {name: F(name) + count}
        if outcome is Outcome.LOST:
            fields["sent"] = F("sent") - count  # a skipped item isn't a sent one
        Replay.objects.filter(pk=replay_id).update(**fields)
    if outcome in (Outcome.SAME_ERROR, Outcome.OTHER_ERROR):
        _link_copies(items)


def _link_copies(items: Sequence[Sent]) -> None:
    """The dead letter of an edited copy, or of one without a group, has another identity: point it to the original.

    Others are linked when they are indexed.
    """
    unlike = [each for each in items if each.is_edited or not each.group]
    for each in unlike:
        newer = DeadLetter.objects.filter(event_id=each.event_id).exclude(pk=each.letter_id)
        if each.group:
            newer = newer.filter(group=each.group, generation=each.generation)
        newer.filter(previous=None).update(previous=each.letter_id)
    counts = Counts()
    ids = [each.letter_id for each in unlike]
    changes.move(ids, [LetterStatus.REPLAYING], LetterStatus.SUPERSEDED, counts)
    counts.apply()


def newer_letters(items: Sequence[Sent]) -> dict[tuple[str, str, int], DeadLetter]:
    """The dead letters that replayed items became, by event id, group and generation.

    One that was there before its item was sent, and hasn't failed since, is of an earlier epoch of the group, in which
    the event was replayed as well.
    """
    sent = {(each.event_id, each.group, each.generation): each.sent_at for each in items}
    found = DeadLetter.objects.filter(event_id__any_of=[each.event_id for each in items], generation__gt=0)
    known = {(each.event_id, each.group, each.generation): each for each in found}
    return {
        identity: each
        for identity, each in known.items()
        if (at := sent.get(identity)) is not None and max(each.indexed_at, each.last_failed_at) >= at - _CLOCKS_DIFFER
    }


def _sent(row: dict[str, Any]) -> Sent:
    return Sent(
        item_id=row["pk"],
        replay_id=row["replay_id"],
        letter_id=row["dead_letter_id"],
        event_id=row["edit__event_id"] or row["dead_letter__event_id"],
        group=row["dead_letter__group"],
        topic=row["dead_letter__topic"],
        dlq_topic=row["dead_letter__dlq_topic"],
        generation=row["dead_letter__generation"] + 1,
        fingerprint=row["dead_letter__fingerprint"],
        error_type=row["dead_letter__error_type"],
        is_edited=row["edit__event_id"] is not None,
        partition=row["partition"],
        offset=row["offset"],
        sent_at=row["sent_at"],
    )
