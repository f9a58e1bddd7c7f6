"""What people paused, and whether workers obey."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

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
    return []


def obeys(worker: WorkerPresence, group: str, topic: str) -> bool:
    """Whether the worker says that it starts nothing of the group, or of that topic of it."""
    for each in worker.groups:
        if each.group == group:
            paused = getattr(each, "paused", ())
            return "" in paused or topic in paused
    return False
