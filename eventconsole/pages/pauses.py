"""What people paused, and whether workers obey."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bus.models import GroupPause
from bus.presence import WorkerPresence


@dataclass(frozen=True, slots=True)
class Pause:
    """A group, or one topic of it when it names one, that starts nothing until somebody resumes it."""

    group: str
    topic: str
    who: str
    why: str
    at: datetime


def all_pauses(group: str | None = None) -> list[Pause]:
    """What is paused, the oldest first; of one group or of all."""
    found = GroupPause.objects.order_by("at", "pk")
    if group is not None:
        found = found.filter(group=group)
    return [Pause(each.group, each.topic, each.who, each.why, each.at) for each in found]


def obeys(worker: WorkerPresence, group: str, topic: str) -> bool:
    """Whether the worker says that it starts nothing of the group, or of that topic of it."""
    for each in worker.groups:
        if each.group == group:
            paused = each.paused
            return "" in paused or topic in paused
    return False
