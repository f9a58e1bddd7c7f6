"""What is wrong now, as sentences. Reads what the monitor has sampled; never asks Kafka or Redis."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from bus.models import ClusterState, ErrorGroup, GroupState

#: Figures that are older say nothing about now.
STALE: Final = timedelta(seconds=60)
#: An error is new for so long; after that it is known, and its alert is over.
NEW_ERROR: Final = timedelta(hours=1)
_MOST_ERRORS: Final = 50


class Condition(NamedTuple):
    """Something that is wrong. The same kind and subject are the same alert.

    Without a summary: nobody can tell at the moment, so what stands goes on standing. Unknown isn't over.
    """

    kind: str
    subject: str
    summary: str

    @property
    def key(self) -> str:
        """What it is known by."""
        return f"{self.kind}:{self.subject}"[:300]


def conditions(
    now: datetime, behind_seconds: float, standing: frozenset[str], watched_since: datetime
) -> Iterator[Condition]:
    """All that is wrong. `standing` are the keys of what was wrong at the last look: an alert that has begun ends when
    the group is less than half of `behind_seconds` behind, so that one on the edge isn't told again and again.
    `watched_since` is when this process began to look: figures from before say that it was away, not that sampling
    stands still.
    """
    cluster = ClusterState.objects.first()
    if cluster is not None and cluster.error:
        yield Condition("kafka-away", "kafka", f"Kafka can't be reached: {cluster.error[:200]}")
    if cluster is not None and cluster.asked_at < now - STALE:
        still = Condition("figures-stale", "monitor", "")
        if now - watched_since >= STALE:
            since = f"{cluster.asked_at:%Y-%m-%d %H:%M:%S} UTC"
            yield still._replace(summary=f"lag isn't sampled since {since}: see the monitor's log, and start it anew")
        elif still.key in standing:
            yield still
    yield from _groups(now, behind_seconds, standing)
    yield from _new_errors(now)


def _groups(now: datetime, behind_seconds: float, standing: frozenset[str]) -> Iterator[Condition]:
    for state in GroupState.objects.defer(*GroupState.LONG).filter(is_ours=True).order_by("name"):
        behind = Condition("group-behind", state.name, "")
        idle = Condition("group-without-worker", state.name, "")
        if state.sampled_at < now - STALE:
            yield from (each for each in (behind, idle) if each.key in standing)
            continue
        limit = behind_seconds / 2 if behind.key in standing else behind_seconds
        if state.lag and state.time_lag_seconds is not None and state.time_lag_seconds > limit:
            why = f": {state.reason}" if state.reason else ""
            yield behind._replace(
                summary=f"{state.name} is {state.time_lag_seconds:.0f} s behind, {state.lag} events wait{why}"
            )
        if state.lag and state.workers == 0:
            yield idle._replace(summary=f"{state.name} has no worker, {state.lag} events wait")


def _new_errors(now: datetime) -> Iterator[Condition]:
    new = ErrorGroup.objects.filter(first_seen_at__gte=now - NEW_ERROR, open__gt=0).order_by("-first_seen_at")
    for group in new[:_MOST_ERRORS]:
        summary = f"new error: {group.error_type}: {group.message:.150} ({group.open} dead letters)"
        yield Condition("new-error", group.fingerprint, summary)
