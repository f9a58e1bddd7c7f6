"""What people paused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


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
