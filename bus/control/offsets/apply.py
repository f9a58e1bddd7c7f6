"""The reset of a group's offsets, as it was planned.

    intent, audit ─▶ workers that begin wait ─▶ no members? ─▶ offsets as planned? ─▶ commit ─▶ new epoch ─▶ audit

The order matters. Workers that begin meanwhile start nothing, because the mirror says that offsets are being reset
before anybody looks whether there are members: either a worker reads that, or it is seen. The new epoch comes after the
commit: should this process die between the two, events are skipped as handled, and the audit tells; the other way round
events behind the old offsets could be handled twice, and nobody would have asked for it. What a process that died has
begun is ended by the monitor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from bus import conf
from bus.control import store
from bus.control.offsets.plan import check
from bus.control.pauses import own_groups
from bus.deadletterindex.changes import Act, finish
from bus.errors import BrokerUnavailableError, InvalidEventError, LedgerUnavailableError
from bus.kafka.consumer import Partition
from bus.kafka.groups import Groups
from bus.kafka.offsets import CommitUnknownError, GroupHasMembersError, set_offsets
from bus.ledger import Ledger
from bus.models import AuditEntry, GroupEpoch
from bus.presence import Presence
from bus.replay.refusals import NotPossibleError

RESET: Final = "group.reset-offsets"
LIVE_SECONDS: Final = 30.0
"""A worker that was silent for so long is none to wait for."""
_NO_MEMBERS: Final = ("empty", "dead", "")
_PLAN_AGAIN: Final = ("plan again",)


class Move(NamedTuple):
    """A partition as the plan saw it. `before` is None without a commit."""

    topic: str
    partition: int
    before: int | None
    after: int


@dataclass(frozen=True, slots=True)
class Reset:
    """What is to be done: the moves of a plan. `epoch` is the group's as the plan saw it."""

    group: str
    moves: Sequence[Move]
    epoch: int = 0
    handle_again: bool = False
    who: str = ""
    why: str = ""


def apply(
    reset: Reset,
    ledger: Ledger,
    now: datetime,
    settings: conf.BusSettings | None = None,
    *,
    wall_clock: Callable[[], float] = time.time,
) -> int:
    """Set the offsets; returns the group's epoch from now on.

    Raises NotPossibleError when the group has members or isn't as the plan saw it, InvalidEventError for offsets that
    can't be, LedgerUnavailableError (nobody can tell workers to wait), and what Kafka refuses. The audit tells each.
    """
    settings = settings or conf.current()
    is_ours = reset.group in own_groups()
    if not reset.moves:
        raise InvalidEventError("offsets", "none given; plan the reset and send what it answered")
    if reset.handle_again and not is_ours:
        raise InvalidEventError("handleAgain", f"{reset.group} is a foreign group: the ledger knows nothing of it")
    entry = _begin(reset, now, is_ours=is_ours)
    try:
        if is_ours and store.tell(ledger.mirror) is None:
            raise LedgerUnavailableError(
                f"Redis is away: workers of {reset.group} that begin now can't be told to wait, so nothing was reset"
            )
        _check_members(reset.group, ledger, settings, wall_clock(), is_ours=is_ours)
        _commit(reset, settings)
    except BaseException as error:
        _end(reset, is_ours=is_ours)
        finish(entry, now, changed=0, failed=str(error))
        raise
    else:
        epoch = _end(reset, is_ours=is_ours, is_new_epoch=reset.handle_again)
        finish(entry, now, changed=len(reset.moves))
        return epoch
    finally:
        if is_ours:
            store.tell(ledger.mirror)


def _begin(reset: Reset, now: datetime, *, is_ours: bool) -> AuditEntry:
    moves = [list(each) for each in reset.moves]
    detail = {"offsets": moves, "handleAgain": reset.handle_again, "epoch": reset.epoch}
    with store.change():
        if is_ours:
            row, _ = GroupEpoch.objects.get_or_create(group=reset.group)
            if row.number != reset.epoch:
                raise NotPossibleError(
                    f"{reset.group} is in epoch {row.number} by now, the plan saw {reset.epoch}", possible=_PLAN_AGAIN
                )
            if row.resetting_since is not None and (now - row.resetting_since).total_seconds() < store.RESET_SECONDS:
                raise NotPossibleError(f"offsets of {reset.group} are being reset just now", possible=_PLAN_AGAIN)
            row.resetting_since = now
            row.save(update_fields=["resetting_since"])
        return Act(reset.who, RESET, reset.why, detail).intent(now, "group", reset.group)


def _end(reset: Reset, *, is_ours: bool, is_new_epoch: bool = False) -> int:
    if not is_ours:
        return 0
    with store.change():
        row = GroupEpoch.objects.get(group=reset.group)
        row.resetting_since = None
        row.number += is_new_epoch
        row.save(update_fields=["resetting_since", "number"])
    return row.number


def _check_members(group: str, ledger: Ledger, settings: conf.BusSettings, now: float, *, is_ours: bool) -> None:
    if is_ours:
        alive = {
            entry.worker: now - entry.seen_at
            for entry in Presence(ledger).all()
            if now - entry.seen_at < LIVE_SECONDS and any(each.group == group for each in entry.groups)
        }
        if alive:
            named = ", ".join(f"{name} (seen {max(0.0, ago):.0f} s ago)" for name, ago in sorted(alive.items())[:5])
            raise NotPossibleError(
                f"{group} has {len(alive)} live worker{'s' * (len(alive) > 1)}: {named}; stop them first, one that was "
                f"killed counts as gone {LIVE_SECONDS:g} s after its last sign of life"
            )
    try:
        with closing(Groups(settings)) as groups:
            told = groups.describe([group])[group]
    except BrokerUnavailableError as error:
        told = error
    # The embedded Kafka can't describe groups; like the real one it refuses the commit if there are members.
    if not isinstance(told, BrokerUnavailableError) and (told.members or told.state not in _NO_MEMBERS):
        hosts = ", ".join(f"{each.client_id} on {each.host}" for each in told.members[:5]) or "none named"
        raise NotPossibleError(
            f"{group} is {told.state} with {len(told.members)} members ({hosts}); only a group without members can be "
            "reset: stop them first"
        )


def _commit(reset: Reset, settings: conf.BusSettings) -> None:
    with closing(Groups(settings)) as groups:
        _commit_as_planned(reset, groups, settings)


def _commit_as_planned(reset: Reset, groups: Groups, settings: conf.BusSettings) -> None:
    wanted = {(each.topic, each.partition): each for each in reset.moves}
    firsts, ends = groups.firsts(wanted), groups.ends(wanted)
    for place, move in wanted.items():
        if place not in firsts or place not in ends:
            raise InvalidEventError("offsets", f"Kafka has no partition {move.topic}[{move.partition}]")
        check(f"{move.topic}[{move.partition}]", move.after, firsts[place], ends[place])
    found = _committed(groups, reset.group, wanted)
    moved = [each for place, each in wanted.items() if found.get(place) != each.before]
    if moved:
        first = moved[0]
        raise NotPossibleError(
            f"{len(moved)} of {len(wanted)} offsets of {reset.group} moved since the plan, such as "
            f"{first.topic}[{first.partition}]: {first.before} then, "
            f"{found.get((first.topic, first.partition))} now",
            possible=_PLAN_AGAIN,
        )
    after = {place: each.after for place, each in wanted.items()}
    try:
        set_offsets(reset.group, after, settings)
    except GroupHasMembersError as error:
        raise NotPossibleError(str(error)) from error
    except CommitUnknownError:
        if _committed(groups, reset.group, wanted) != after:
            raise


def _committed(groups: Groups, group: str, wanted: Mapping[Partition, Move]) -> dict[Partition, int]:
    answer = groups.committed({group: list(wanted)})[group]
    if isinstance(answer, BrokerUnavailableError):
        raise answer
    return answer
