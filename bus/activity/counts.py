"""How often what happened, exactly, counted by whoever is in the middle of it.

A tally is a plain list that gets one number per event. Its `append` is one step that no other thread can come between,
and the cheapest thing Python can do for an event; what it adds up to is found out twice a second, on another thread.
"""

from __future__ import annotations

import threading
from collections import Counter

from bus.activity.durations import bucket_of

#: What an event adds to its tally: the milliseconds of its attempt, or this where there is none to be timed.
UNTIMED = -1
# Topics come out of records, and those of a forger may name any number of them.
MOST_TALLIES = 5000
OTHER_TOPICS = "(other)"

Counted = list[tuple[str, str, str, int]]
Timed = list[tuple[str, str, dict[int, int]]]


class Counts:
    """The tallies of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[tuple[str, str, str], list[int]] = {}

    def tally(self, topic: str, group: str, outcome: str) -> list[int]:
        """The list to which each event of this kind appends; the same one at every call, so that it can be kept."""
        with self._lock:
            if len(self._tallies) >= MOST_TALLIES and (topic, group, outcome) not in self._tallies:
                topic = OTHER_TOPICS
            return self._tallies.setdefault((topic, group, outcome), [])

    def take(self) -> tuple[Counted, Timed]:
        """What came in since the last call: events per topic, group and outcome, and their attempts per duration."""
        with self._lock:
            tallies = list(self._tallies.items())
        counted: Counted = []
        timed: dict[tuple[str, str], dict[int, int]] = {}
        for (topic, group, outcome), tally in tallies:
            if not tally:
                continue
            numbers = tally[:]
            del tally[: len(numbers)]  # others append to this very list meanwhile
            counted.append((topic, group, outcome, len(numbers)))
            for ms, count in Counter(numbers).items():
                if ms != UNTIMED:
                    buckets, bucket = timed.setdefault((topic, group), {}), bucket_of(ms)
                    buckets[bucket] = buckets.get(bucket, 0) + count
        return counted, [(topic, group, buckets) for (topic, group), buckets in timed.items()]
