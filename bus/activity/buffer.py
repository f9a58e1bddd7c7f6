"""What happened in a process since it last wrote: counted exactly, single transitions as far as there is room."""

from __future__ import annotations

from bus.activity.durations import bucket_of
from bus.activity.entries import Activity, Outcome, Transition

#: Transitions of single events in an entry. What is rare and matters comes first.
MOST_TRANSITIONS = 200
_RANKS = {
    Outcome.FAILED: 0,
    Outcome.RETRYING: 1,
    Outcome.PUBLISHED: 2,
    Outcome.PROCESSED: 2,
    Outcome.SKIPPED: 2,
    Outcome.PROCESSING: 3,
    Outcome.DUPLICATE: 4,
}
#: By plain text: a StrEnum's own hash is too slow for what is asked per event.
RANKS: dict[str, int] = {outcome.value: rank for outcome, rank in _RANKS.items()}
# Within a millisecond an event begins before it ends.
_SEQUENCE: dict[str, int] = {"published": 0, "processing": 1}


class Buffer:
    """Bounded by the number of topics and groups, however much happens and however long it isn't written.

    Used under its owner's lock.
    """

    __slots__ = ("counts", "durations", "kept")

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str, str], int] = {}
        self.durations: dict[tuple[str, str], dict[int, int]] = {}
        self.kept: tuple[list[Transition], ...] = tuple([] for _ in range(max(RANKS.values()) + 1))

    def count(self, topic: str, group: str, outcome: str, n: int) -> int:
        """Count events. Returns how many transitions of this kind are still wanted."""
        key = (topic, group, outcome)
        self.counts[key] = self.counts.get(key, 0) + n
        return MOST_TRANSITIONS - len(self.kept[RANKS[outcome]])

    def time(self, topic: str, group: str, ms: int) -> None:
        """Note how long an attempt took."""
        key = (topic, group)
        buckets = self.durations.get(key)
        if buckets is None:
            buckets = self.durations[key] = {}
        bucket = bucket_of(ms)
        buckets[bucket] = buckets.get(bucket, 0) + 1

    def keep(self, transition: Transition) -> None:
        """Keep a transition, unless enough of its rank are there."""
        kept = self.kept[RANKS[transition.outcome]]
        if len(kept) < MOST_TRANSITIONS:
            kept.append(transition)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.counts and not any(self.kept)

    @property
    def duplicates(self) -> list[Transition]:
        """Transitions of duplicates, also those that an entry has no room for."""
        return self.kept[RANKS[Outcome.DUPLICATE.value]]

    def activity(self, by: str, at_ms: int) -> Activity:
        """The entry that this makes, its transitions in the order of time."""
        chosen: list[Transition] = []
        for kept in self.kept:
            chosen += kept[: MOST_TRANSITIONS - len(chosen)]
        chosen.sort(key=lambda each: (each.at_ms, _SEQUENCE.get(each.outcome, 2)))
        return Activity(
            "",
            by,
            at_ms,
            [(*key, n) for key, n in self.counts.items()],
            [(*key, buckets) for key, buckets in self.durations.items()],
            chosen,
            # A transition that was counted right before the last writing may be kept only now.
            max(0, sum(self.counts.values()) - len(chosen)),
        )
