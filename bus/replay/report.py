"""How far a replay is. Pure, but for the models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bus.models import Replay


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts of a replay. `waiting` aren't sent yet, `pending` are sent and have no outcome yet.

    `speed` is in events per second, as measured lately; `seconds_left` until all is sent, None when nobody can say.
    """

    total: int
    sent: int
    handled: int
    failed_again: int
    pending: int
    waiting: int
    skipped: int
    speed: float | None
    seconds_left: float | None


def progress_of(replay: Replay, now: datetime) -> Progress:
    """How far it is, as of what was read."""
    failed = replay.failed_again_same + replay.failed_again_other
    waiting = max(0, replay.total - replay.sent - replay.skipped)
    runs = replay.state == Replay.State.RUNNING
    speed = replay.speed if runs and waiting else None
    if speed is None and runs and waiting:
        speed = replay.rate
    # Just begun, or slowed down just now: what was measured is faster than it will go on.
    pace = speed if speed is None or replay.rate is None else min(speed, replay.rate)
    later = max(0.0, (replay.send_at - now).total_seconds()) if replay.send_at else 0.0
    left = waiting / pace + later if pace else (0.0 if not waiting else None)
    return Progress(
        total=replay.total,
        sent=replay.sent,
        handled=replay.handled,
        failed_again=failed,
        pending=max(0, replay.sent - replay.handled - failed),
        waiting=waiting,
        skipped=replay.skipped,
        speed=None if speed is None else round(speed, 1),
        seconds_left=None if left is None else round(left, 1),
    )
