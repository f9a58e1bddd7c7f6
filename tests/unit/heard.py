"""An activity log that a test can ask what it was told."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from bus import conf
from bus.activity import Activity, ActivityLog, Transition
from bus.activity.sample import chosen
from bus.ledger import Ledger


class _Nowhere:
    """As much of a ledger as a log needs that is never written."""

    prefix = "bus"

    def __init__(self) -> None:
        self.settings = conf.load(conf.BusSettings)


class Heard(ActivityLog):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(cast(Ledger, _Nowhere()), "heard")
        self.closed: list[float] = []
        self._all_counts: Counter[tuple[str, str, str]] = Counter()
        self._all_durations: dict[tuple[str, str], Counter[int]] = {}

    def _rouse(self) -> None:
        """Nothing is written."""

    def close(self, timeout: float = 0.5) -> None:
        self.closed.append(timeout)

    @property
    def activity(self) -> Activity:
        """All that it was told so far, as one entry."""
        counted, timed = self._counts.take()
        for *kind, n in counted:
            self._all_counts[cast(Any, tuple(kind))] += n
        for topic, group, buckets in timed:
            self._all_durations.setdefault((topic, group), Counter()).update(buckets)
        return Activity(
            "",
            self.by,
            0,
            [(*kind, n) for kind, n in self._all_counts.items()],
            [(topic, group, dict(buckets)) for (topic, group), buckets in self._all_durations.items()],
            chosen(self._sample._kept),
        )

    @property
    def counts(self) -> dict[str, int]:
        """How often each outcome was told, whatever the topic and group."""
        found: Counter[str] = Counter()
        for _, _, outcome, n in self.activity.counts:
            found[outcome] += n
        return dict(found)

    def of(self, event_id: str) -> list[Transition]:
        """What was told of one event, in the order of time."""
        return [each for each in self.activity.transitions if each.event_id == event_id]
