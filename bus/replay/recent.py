"""The replays of late, for a list that stays until it is dismissed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from bus.models import Replay
from bus.replay.states import ACTIVE

MAX: Final = 100


def recent(
    limit: int = 10,
    *,
    kinds: Collection[str] = (),
    started: bool = True,
    may_see: Callable[[str], bool] = lambda topic: True,
) -> list[Replay]:
    """The last replays, the newest first: those that were `started`, or plans as well; of these kinds, or all.

    `may_see` is asked about each topic of a replay: one with a topic that may not be seen is left out. One query.
    """
    found = Replay.objects.order_by("-pk")
    if kinds:
        found = found.filter(kind__in=kinds)
    if started:
        found = found.exclude(started_at=None)
    some = found[: MAX if limit < MAX else limit]
    return [each for each in some if all(may_see(topic) for topic, _, _ in each.places)][:limit]


def active(may_see: Callable[[str], bool] = lambda topic: True) -> list[Replay]:
    """Replays that run, rest or wait for somebody to decide, the oldest first; 100 at most."""
    found = Replay.objects.filter(state__in=ACTIVE).order_by("pk")[:MAX]
    return [each for each in found if all(may_see(topic) for topic, _, _ in each.places)]
