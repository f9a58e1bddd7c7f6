"""What people do with replays. The intent and its audit entry are one transaction; Kafka is touched after it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import F

from bus.deadletterindex import changes
from bus.deadletterindex.changes import Act
from bus.errors import InvalidEventError
from bus.models import AuditEntry, DeadLetter, LetterStatus, Replay, ReplayEdit, ReplayItem
from bus.replay import states
from bus.replay.edit import Edited
from bus.replay.refusals import NotPossibleError, UnknownThingError
from bus.replay.states import Verb

MAX_GENERATION: Final = 3
"""A replay of a higher generation must be asked for with force."""
MAX_DELAY: Final = 7 * 86400
MAX_RATE: Final = 1_000_000.0


def replay_one(
    letter_id: int,
    who: str,
    now: datetime,
    *,
    delay: float = 0.0,
    force: bool = False,
    all_groups: bool = False,
    edited: Edited | None = None,
    reason: str = "",
) -> Replay:
    """Take a dead letter for a replay of its own, to be sent in `delay` seconds; until then it can be undone.

    Raises UnknownThingError, NotPossibleError with who was faster and when, and InvalidEventError that names the field
    to confirm with.
    """
    if not 0 <= delay <= MAX_DELAY:
        raise InvalidEventError("delay", f"{delay:g} given, allowed are 0 to {MAX_DELAY} seconds")
    with transaction.atomic():
        letter = DeadLetter.objects.select_for_update().filter(pk=letter_id).first()
        if letter is None:
            raise UnknownThingError(f"there is no dead letter {letter_id}")
        if letter.status != LetterStatus.OPEN or letter.purged_at is not None:
            raise taken_already(letter)
        confirm(letter.generation, letter.group, force, all_groups)
        replay = _of_one(letter, who, now, delay, all_groups, edited, reason)
        if changes.begin_replay([letter.pk], replay, who, now) != [letter.pk]:
            raise taken_already(DeadLetter.objects.get(pk=letter.pk))
        detail: dict[str, Any] = {"replay": replay.pk, "delay": delay, "force": force, "allGroups": all_groups}
        if edited is not None:
            detail |= {"eventId": edited.event_id, "diff": edited.diff}
        what = "dead-letter.replay" if edited is None else "dead-letter.edit-and-replay"
        Act(who, what, reason, detail).intent(now, "dead-letter", str(letter.pk))
    return replay


def _of_one(
    letter: DeadLetter, who: str, now: datetime, delay: float, all_groups: bool, edited: Edited | None, reason: str
) -> Replay:
    replay = Replay.objects.create(
        state=Replay.State.RUNNING,
        kind=Replay.Kind.ONE if edited is None else Replay.Kind.EDIT,
        created_at=now,
        created_by=who[:200],
        started_at=now,
        changed_at=now,
        changed_by=who[:200],
        reason=reason,
        filter={"ids": [letter.pk]},
        places=[[letter.topic, letter.group, 1]],
        all_groups=all_groups,
        total=1,
        send_at=now + timedelta(seconds=delay) if delay else None,
    )
    item = ReplayItem.objects.create(replay=replay, dead_letter=letter, sequence=1)
    if edited is not None:
        ReplayEdit.objects.create(item=item, **edited.fields())
    return replay


def undo(letter_id: int, who: str, now: datetime) -> Replay:
    """Take back the replay of a dead letter that isn't sent yet. Raises UnknownThingError and NotPossibleError."""
    letter = DeadLetter.objects.filter(pk=letter_id).first()
    if letter is None:
        raise UnknownThingError(f"there is no dead letter {letter_id}")
    replay = letter.replay
    if letter.status != LetterStatus.REPLAYING or replay is None:
        raise NotPossibleError(f"dead letter {letter_id} is {letter.status}: there is no replay to undo")
    if replay.kind == Replay.Kind.MANY:
        raise NotPossibleError(f"dead letter {letter_id} is part of replay {replay.pk}: pause or cancel that")
    with transaction.atomic():
        states.change(replay.pk, Verb.CANCEL, who, now, finished_at=now)
        if not _skip_waiting(replay.pk, f"undone by {who}", now):
            raise NotPossibleError(
                f"dead letter {letter_id} can't be undone: it was sent", replay.created_by, replay.send_at
            )
        changes.undo_replay([letter_id])
        Act(who, "dead-letter.undo-replay", detail={"replay": replay.pk}).done(now, "dead-letter", str(letter_id))
        close_audit(replay.pk, now, f"undone by {who}")
    replay.refresh_from_db()
    return replay


def run(
    replay_id: int,
    who: str,
    now: datetime,
    *,
    rate: float | None = None,
    canary: int | None = None,
    stop_at_percent: float | None = None,
) -> Replay:
    """Let a planned replay run, at `rate` events per second (None: as fast as it goes).

    With `canary` so many go first; the rest follows when no more than `stop_at_percent` of them (0 unless given) failed
    again. Raises UnknownThingError, NotPossibleError and InvalidEventError.
    """
    _check_rate(rate)
    if canary is not None and canary < 1:
        raise InvalidEventError("canary", f"{canary} given, allowed is 1 or more")
    if stop_at_percent is not None and not 0 <= stop_at_percent <= 100:
        raise InvalidEventError("stopAtPercent", f"{stop_at_percent:g} given, allowed are 0 to 100")
    if stop_at_percent is not None and canary is None:
        raise InvalidEventError("stopAtPercent", "it is a share of the canary: say how many that has, as canary")
    how = {"rate": rate, "canary": canary, "stop_at_percent": stop_at_percent}
    with transaction.atomic():
        states.change(replay_id, Verb.RUN, who, now, started_at=now, **how)
        Act(who, "replay.run", detail={**how}).intent(now, "replay", str(replay_id))
    return Replay.objects.get(pk=replay_id)


def change_rate(replay_id: int, rate: float | None, who: str, now: datetime) -> Replay:
    """Send at another rate (events per second; None: as fast as it goes) from now on; a batch on its way is still sent.

    Raises UnknownThingError, NotPossibleError and InvalidEventError.
    """
    _check_rate(rate)
    with transaction.atomic():
        if not Replay.objects.filter(pk=replay_id, state__in=states.ACTIVE).update(rate=rate):
            raise states.refusal(replay_id, "have another rate")
        Act(who, "replay.rate", detail={"rate": rate}).done(now, "replay", str(replay_id))
    return Replay.objects.get(pk=replay_id)


def _check_rate(rate: float | None) -> None:
    if rate is not None and not 0.01 <= rate <= MAX_RATE:
        raise InvalidEventError("rate", f"{rate:g} given, allowed are 0.01 to {MAX_RATE:,.0f} events per second")


def pause(replay_id: int, who: str, now: datetime) -> Replay:
    """Let it rest; what was taken is still sent. Raises UnknownThingError and NotPossibleError."""
    return _simply(replay_id, Verb.PAUSE, who, now)


def resume(replay_id: int, who: str, now: datetime) -> Replay:
    """Go on; after a canary that stopped it, with all the rest. Raises UnknownThingError and NotPossibleError."""
    with transaction.atomic():
        stopped = Replay.objects.filter(pk=replay_id, state=Replay.State.STOPPED_BY_CANARY)
        stopped.update(canary_decided=True)
        return _simply(replay_id, Verb.RESUME, who, now)


def cancel(replay_id: int, who: str, now: datetime) -> Replay:
    """Send no more of it. What was sent stays sent, and its outcome is still waited for.

    Raises UnknownThingError and NotPossibleError.
    """
    with transaction.atomic():
        _simply(replay_id, Verb.CANCEL, who, now, finished_at=now)
        _skip_waiting(replay_id, f"cancelled by {who}", now)
        # Of a replay of one, which has its dead letter from the beginning.
        skipped = ReplayItem.objects.filter(replay_id=replay_id, state=ReplayItem.State.SKIPPED)
        waiting = DeadLetter.objects.filter(
            pk__in=skipped.values("dead_letter_id"), replay_id=replay_id, status=LetterStatus.REPLAYING
        )
        changes.undo_replay(list(waiting.values_list("pk", flat=True)))
        close_audit(replay_id, now, f"cancelled by {who}")
    return Replay.objects.get(pk=replay_id)


def confirm(generation: int, group: str, force: bool, all_groups: bool) -> None:
    """Raise InvalidEventError for what has to be confirmed: many replays already, or no group to send it to."""
    if generation + 1 > MAX_GENERATION and not force:
        raise InvalidEventError(
            "force", f"it was replayed {generation} times and failed each time; say true to replay it once more"
        )
    if not group and not all_groups:
        raise InvalidEventError(
            "allGroups", "it names no group, so all groups of this topic will see it; say true if that is meant"
        )


def taken_already(letter: DeadLetter) -> NotPossibleError:
    """Why the dead letter can't be replayed: who did what with it, and when."""
    match letter.status:
        case LetterStatus.REPLAYING:
            return NotPossibleError(
                f"dead letter {letter.pk} is being replayed", letter.replayed_by, letter.replayed_at
            )
        case LetterStatus.RESOLVED:
            return NotPossibleError(
                f"dead letter {letter.pk} was handled when it was replayed", letter.replayed_by, letter.replayed_at
            )
        case LetterStatus.DISCARDED:
            return NotPossibleError(
                f"dead letter {letter.pk} was discarded", letter.discarded_by, letter.discarded_at, ["restore"]
            )
    newer = DeadLetter.objects.filter(previous=letter).first()
    which = f"; replay {newer.pk}, which stands for it" if newer else ""
    return NotPossibleError(f"dead letter {letter.pk} failed again{which}", letter.replayed_by, letter.replayed_at)


def close_audit(replay_id: int, now: datetime, outcome: str) -> None:
    """Write down what came of the intents of a replay."""
    replay = Replay.objects.get(pk=replay_id)
    kind, target = "replay", str(replay_id)
    if replay.kind != Replay.Kind.MANY:
        kind, target = "dead-letter", str(replay.filter["ids"][0])
    for entry in AuditEntry.objects.filter(target_kind=kind, target=target, outcome=AuditEntry.Outcome.INTENT):
        if kind == "replay" or entry.detail.get("replay") == replay_id:
            changes.finish(entry, now, changed=replay.sent)
            AuditEntry.objects.filter(pk=entry.pk).update(outcome_detail=outcome)


def _simply(replay_id: int, verb: Verb, who: str, now: datetime, **fields: Any) -> Replay:
    with transaction.atomic():
        states.change(replay_id, verb, who, now, **fields)
        Act(who, f"replay.{verb}").done(now, "replay", str(replay_id), changed=1)
    return Replay.objects.get(pk=replay_id)


def _skip_waiting(replay_id: int, why: str, now: datetime) -> int:
    # The caller has changed the replay: nobody takes more of it meanwhile.
    taken_to = Replay.objects.values_list("taken_to", flat=True).get(pk=replay_id)
    waiting = ReplayItem.objects.filter(replay_id=replay_id, state=ReplayItem.State.WAITING, sequence__gt=taken_to)
    skipped = waiting.update(state=ReplayItem.State.SKIPPED, note=why, finished_at=now)
    Replay.objects.filter(pk=replay_id).update(skipped=F("skipped") + skipped)
    return skipped
