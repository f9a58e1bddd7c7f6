"""Pausing and resuming a group, or one topic of it.

A pause lasts until somebody resumes. What runs finishes; nothing else of it is started, not even a retry that is due or
a replay: it waits, in order, and fetching stops. Members stay members, and offsets stay where they are safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bus import catalog, handlers
from bus.control import store
from bus.control.store import PAUSE, RESUME
from bus.deadletterindex.changes import Act
from bus.errors import InvalidEventError
from bus.ledger.mirror import Mirror
from bus.models import GroupPause
from bus.replay.refusals import NotPossibleError, UnknownThingError


@dataclass(frozen=True, slots=True)
class Told:
    """A change that is committed. `is_told`: it is in Redis, too, so that workers obey within 2 s."""

    group: str
    topic: str
    is_told: bool


def own_groups() -> list[str]:
    """The groups that workers of this installation consume for: those that can be steered."""
    return sorted({*catalog.groups(), *handlers.registry.groups()})


def topics_of(group: str) -> list[str]:
    """The topics that the group has a handler for."""
    return sorted(handlers.registry.for_group(group))


def pauses_of(group: str) -> list[GroupPause]:
    """What is paused of the group, the whole group first."""
    return list(GroupPause.objects.filter(group=group).order_by("topic"))


def pause(group: str, topic: str, who: str, why: str, now: datetime, mirror: Mirror) -> Told:
    """Pause a group, or with `topic` that topic of it.

    Raises UnknownThingError for a group that isn't ours, InvalidEventError for a topic that it doesn't handle, and
    NotPossibleError with who was faster.
    """
    _check(group, topic)
    with store.change():
        found = GroupPause.objects.filter(group=group, topic=topic).first()
        if found is not None:
            raise NotPossibleError(f"{_name(group, topic)} is paused already,", found.who, found.at, ["resume"])
        GroupPause.objects.create(group=group, topic=topic, who=who[:200], why=why, at=now)
        _intent(PAUSE, group, topic, who, why, now)
    return _tell(group, topic, now, mirror)


def resume(group: str, topic: str, who: str, why: str, now: datetime, mirror: Mirror) -> Told:
    """Let a group, or one topic of it, go on. What else of it is paused stays so.

    Raises UnknownThingError, InvalidEventError, and NotPossibleError when it isn't paused.
    """
    _check(group, topic, is_known=GroupPause.objects.filter(group=group, topic=topic).exists())
    with store.change():
        deleted, _ = GroupPause.objects.filter(group=group, topic=topic).delete()
        if not deleted:
            raise NotPossibleError(f"{_name(group, topic)} isn't paused{_hint(group)}", possible=["pause"])
        _intent(RESUME, group, topic, who, why, now)
    return _tell(group, topic, now, mirror)


def _check(group: str, topic: str, *, is_known: bool = False) -> None:
    # What was paused once can be resumed, whatever became of its handlers.
    if is_known:
        return
    known = own_groups()
    if group not in known:
        raise UnknownThingError(
            f"no group {group!r} is ours: only groups whose workers belong to this installation can be paused; those "
            f"are {', '.join(known)}"
        )
    if topic and topic not in topics_of(group):
        raise InvalidEventError("topic", f"{group} doesn't handle {topic!r}; it handles {_list(topics_of(group))}")


def _intent(what: str, group: str, topic: str, who: str, why: str, now: datetime) -> None:
    detail = {"group": group, "topic": topic, "version": store.current_version()}
    Act(who, what, why, detail).intent(now, "group", group)


def _tell(group: str, topic: str, now: datetime, mirror: Mirror) -> Told:
    version = store.tell(mirror)
    if version is not None:
        # No later one: that may still have to be told.
        store.finish_told(version, now)
    return Told(group, topic, version is not None)


def _name(group: str, topic: str) -> str:
    return f"topic {topic} of {group}" if topic else f"group {group}"


def _hint(group: str) -> str:
    paused = [each.topic or "the whole group" for each in pauses_of(group)]
    return f"; what is: {_list(paused)}" if paused else ""


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
