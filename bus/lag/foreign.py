"""Measures consumer groups that aren't ours, a few at a time: there may be ten thousand of them.

One round over all of them takes as long as it takes; what is measured of our own groups waits for none of it. A group's
rates are those since the round before, from its own row.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from django.db import InterfaceError, OperationalError

from bus import catalog
from bus.errors import BrokerUnavailableError
from bus.kafka.consumer import Partition
from bus.kafka.groups import GroupDescription, GroupNames
from bus.lag import arithmetic
from bus.lag.arithmetic import Measurement, Window
from bus.lag.rows import Rows
from bus.lag.sampler import Times
from bus.lag.sparkline import moved_on
from bus.lag.states import Seen, group_fields
from bus.models import ClusterState, GroupState

AT_ONCE: Final = 50
"""Groups that are measured in one step."""
_LONGEST_NAME: Final = 249
SHORTEST_ROUND_SECONDS: Final = 15.0
"""Few groups are measured no more often than this."""


class Kafka(Protocol):
    """What is asked of Kafka: `bus.kafka.groups.Groups`."""

    def names(self, timeout: float = 10.0) -> GroupNames: ...
    def ends(self, partitions: Iterable[Partition], timeout: float = 5.0) -> dict[Partition, int]: ...
    def firsts(self, partitions: Iterable[Partition], timeout: float = 5.0) -> dict[Partition, int]: ...
    def all_commits(
        self, names: Sequence[str], timeout: float = 5.0
    ) -> dict[str, dict[Partition, int] | BrokerUnavailableError]: ...
    def describe(
        self, names: Iterable[str], timeout: float = 5.0
    ) -> dict[str, GroupDescription | BrokerUnavailableError]: ...


class ForeignSampler:
    """Measures the next few groups with every `step`. Used by one thread."""

    def __init__(
        self,
        kafka: Kafka,
        times: Times,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kafka = kafka
        self._times = times
        self._now = now
        self._clock = clock
        self._rows = Rows(GroupState)
        self._todo: deque[str] = deque()
        self._count = 0
        self._began = float("-inf")

    def step(self) -> float:
        """Measure some groups; returns how many seconds to rest. Raises BrokerUnavailableError and DatabaseError."""
        if not self._todo:
            left = self._began + SHORTEST_ROUND_SECONDS - self._clock()
            if left > 0:
                return left
            self._begin_round()
        names = [self._todo.popleft() for _ in range(min(AT_ONCE, len(self._todo)))]
        try:
            self._measure(names)
        except (BrokerUnavailableError, OperationalError, InterfaceError):
            # Something is away. Whatever else it is might be so each time, and nobody after them would be measured.
            self._todo.extendleft(reversed(names))
            raise
        if not self._todo:
            ClusterState.objects.update(foreign_groups=self._count, foreign_round_at=self._now())
        return 0.5

    def _begin_round(self) -> None:
        told, ours = self._kafka.names(), catalog.groups()
        names = sorted(name for name in told.states if name not in ours and _fits(name))
        self._began = self._clock()
        self._count = len(names)
        self._todo.extend(names)
        if told.is_complete:
            self._rows.keep_only(names, is_ours=False)

    def _measure(self, names: Sequence[str]) -> None:
        if not names:
            return
        before = GroupState.objects.in_bulk(names)
        commits = self._kafka.all_commits(names)
        described = self._kafka.describe(names)
        told = {name: each for name, each in described.items() if isinstance(each, GroupDescription)}
        places = {name: _places(its, told.get(name)) for name, its in commits.items() if not isinstance(its, Exception)}
        wanted = sorted({place for its in places.values() for place in its})
        firsts, ends = self._kafka.firsts(wanted), self._kafka.ends(wanted)
        now = self._now()
        seen = {
            name: [
                _seen(place, commit, firsts.get(place, 0), ends[place], before.get(name), now)
                for place, commit in sorted(its.items())
                if place in ends
            ]
            for name, its in places.items()
        }
        self._read_times([each for its in seen.values() for each in its])
        self._rows.save([_row(name, its, told.get(name), before.get(name), now) for name, its in seen.items()], now)
        for name, error in commits.items():
            if isinstance(error, BrokerUnavailableError):
                GroupState.objects.filter(pk=name).update(error=str(error)[:1000])

    def _read_times(self, seen: Iterable[Seen]) -> None:
        wanted: dict[tuple[str, int, int], list[Seen]] = {}
        for each in seen:
            if each.wants_time:
                wanted.setdefault((each.topic, each.partition, each.end - each.flow.lag), []).append(each)
        for place, at in self._times.of(wanted).items() if wanted else ():
            for each in wanted[place]:
                each.written_ms = at


def _fits(name: str) -> bool:
    """Whether a database takes the name; Kafka takes nearly any."""
    return len(name) <= _LONGEST_NAME and "\0" not in name and not any("\ud800" <= each <= "\udfff" for each in name)


def _places(commits: Mapping[Partition, int], described: GroupDescription | None) -> dict[Partition, int | None]:
    members = described.members if described else ()
    return {**dict.fromkeys((place for each in members for place in each.partitions), None), **commits}


def _seen(place: Partition, commit: int | None, first: int, end: int, before: GroupState | None, now: datetime) -> Seen:
    position, window = arithmetic.position(commit, first), Window()
    its_before = _before(before, place)
    if before is not None and its_before is not None and its_before["end"] - its_before["lag"] <= position:
        was_at = its_before["end"] - its_before["lag"]
        window.add(Measurement(before.sampled_at.timestamp(), was_at, its_before["end"]))
    window.add(Measurement(now.timestamp(), position, end))
    return Seen(*place, end, commit, window.flow, window.lag_before)


def _before(row: GroupState | None, place: Partition) -> dict[str, Any] | None:
    partitions = row.partitions if row is not None else ()
    return next((each for each in partitions if (each["topic"], each["partition"]) == place), None)


def _row(
    name: str, seen: Sequence[Seen], described: GroupDescription | None, before: GroupState | None, now: datetime
) -> dict[str, Any]:
    members = {place: each.client_id for each in (described.members if described else ()) for place in each.partitions}
    for each in seen:
        each.member = members.get((each.topic, each.partition), "")
    fields = group_fields(seen, int(now.timestamp() * 1000), description=described, workers=None)
    if described is not None and not described.members and fields["lag"]:
        fields["reason"] = "It has no members."
    points, newest = (before.sparkline, before.sparkline_at) if before is not None else ([], None)
    points, at = moved_on(points, newest, now, fields["lag"], repeat=True)
    return {"name": name, "is_ours": False, **fields, "sparkline": points, "sparkline_at": at}
