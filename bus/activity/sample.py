"""Which transitions of single events an entry describes: failures first, and no more than 200."""

from __future__ import annotations

from bus.activity.entries import Outcome, Transition

MOST_TRANSITIONS = 200
# What is rare and matters comes first.
_RANKS = {
    Outcome.FAILED: 0,
    Outcome.RETRYING: 1,
    Outcome.PUBLISHED: 2,
    Outcome.PROCESSED: 2,
    Outcome.SKIPPED: 2,
    Outcome.PROCESSING: 3,
    Outcome.DUPLICATE: 4,
}
#: By plain text: the members' own hash is slow.
RANKS: dict[str, int] = {outcome.value: rank for outcome, rank in _RANKS.items()}
_RANK_COUNT = max(RANKS.values()) + 1
# Within a millisecond an event begins before it ends.
_SEQUENCE = {Outcome.PUBLISHED.value: 0, Outcome.PROCESSING.value: 1}


class Sample:
    """Keeps the first transitions of each rank, so that failures that come last are still among them.

    `room` says per rank how many more are wanted. Used under its owner's lock, but for looking at `room`.
    """

    def __init__(self) -> None:
        self.room = [MOST_TRANSITIONS] * _RANK_COUNT
        self._kept: list[list[Transition]] = [[] for _ in range(_RANK_COUNT)]

    def keep(self, transition: Transition) -> None:
        """Keep it if there is room."""
        rank = RANKS[transition.outcome]
        if self.room[rank] > 0:
            self.room[rank] -= 1
            self._kept[rank].append(transition)

    def take(self) -> list[list[Transition]]:
        """What was kept since the last call, by rank; there is room again."""
        kept, self._kept = self._kept, [[] for _ in range(_RANK_COUNT)]
        self.room[:] = [MOST_TRANSITIONS] * _RANK_COUNT  # the very list that others look at
        return kept


def chosen(kept: list[list[Transition]]) -> list[Transition]:
    """Those that an entry describes, in the order of time."""
    found: list[Transition] = []
    for transitions in kept:
        found += transitions[: MOST_TRANSITIONS - len(found)]
    return sorted(found, key=lambda each: (each.at_ms, _SEQUENCE.get(each.outcome, len(_SEQUENCE))))
