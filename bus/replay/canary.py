"""Whether the first few of a replay say that the rest may follow."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Count, Q

from bus.models import Replay, ReplayItem
from bus.replay import states
from bus.replay.states import Verb

MONITOR = "the monitor"


def verdict(size: int, failed: int, undecided: int, stop_at_percent: float) -> bool | None:
    """Whether a canary of that size passed; None while that depends on those without an outcome. Pure.

    It fails as soon as more than `stop_at_percent` of it failed again, whatever becomes of the others.
    """
    if size and failed * 100 > stop_at_percent * size:
        return False
    return None if undecided else True


def decide(replay: Replay, now: datetime) -> bool | None:
    """Let a replay that waits for its canary go on, or stop it; None while nobody can say."""
    ended = (ReplayItem.State.HANDLED, ReplayItem.State.FAILED_AGAIN)
    counts = ReplayItem.objects.filter(replay=replay, sequence__lte=replay.canary or 0).aggregate(
        size=Count("pk", filter=~Q(state=ReplayItem.State.SKIPPED)),
        failed=Count("pk", filter=Q(state=ReplayItem.State.FAILED_AGAIN)),
        undecided=Count("pk", filter=~Q(state__in=[*ended, ReplayItem.State.SKIPPED])),
    )
    passed = verdict(counts["size"], counts["failed"], counts["undecided"], replay.stop_at_percent or 0.0)
    if passed:
        states.try_change(replay.pk, Verb.CANARY_PASSED, MONITOR, now, canary_decided=True)
    elif passed is False:
        states.try_change(replay.pk, Verb.CANARY_FAILED, MONITOR, now)
    return passed
