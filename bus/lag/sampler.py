"""Measures our own groups, our topics and the cluster, and writes down what it saw.

Commits are asked before ends: the other way round, events that are published and handled in between would make a lag
negative. What Kafka can't tell is said in `ClusterState.limits`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from bus import catalog
from bus.errors import BrokerUnavailableError
from bus.handlers import registry
from bus.kafka.consumer import Partition
from bus.kafka.groups import Cluster, GroupDescription
from bus.kafka.timestamps import Place
from bus.lag import arithmetic
from bus.lag.arithmetic import Measurement, Window
from bus.lag.rows import Rows
from bus.lag.sparkline import moved_on
from bus.lag.states import Seen, group_fields, holdings
from bus.lag.topics import Topics
from bus.models import ClusterState, GroupState
from bus.presence import WorkerPresence

log = logging.getLogger("bus.lag")

LOOK_SECONDS: Final = 5.0
"""How often brokers and topics are looked at."""
FIRSTS_SECONDS: Final = 10.0
"""How often first offsets are: they only move when Kafka deletes records."""
RETENTION_SECONDS: Final = 300.0
"""How often topics are asked how long they keep records."""
ALL_TOPICS_SECONDS: Final = 30.0
"""How often commits are looked for in all topics of the catalog, not only in those that a group is known to read."""
_MOCK_CLUSTER = "mockCluster"
_EMBEDDED_LIMITS: Final = [
    "The embedded Kafka can't list consumer groups: only those of the catalog are shown.",
    "It can't tell the members of a group: those shown are the workers that report to Redis.",
    "It can't find the offset of a time, nor tell the retention of a topic.",
]


class Kafka(Protocol):
    """What is asked of Kafka: `bus.kafka.groups.Groups`."""

    def cluster(self, timeout: float = 5.0) -> Cluster: ...
    def ends(self, partitions: Iterable[Partition], timeout: float = 5.0) -> dict[Partition, int]: ...
    def firsts(self, partitions: Iterable[Partition], timeout: float = 5.0) -> dict[Partition, int]: ...
    def committed(
        self, wanted: Mapping[str, Sequence[Partition]], timeout: float = 5.0
    ) -> dict[str, dict[Partition, int] | BrokerUnavailableError]: ...
    def describe(
        self, names: Iterable[str], timeout: float = 5.0
    ) -> dict[str, GroupDescription | BrokerUnavailableError]: ...
    def retention_ms(self, topics: Sequence[str], timeout: float = 5.0) -> dict[str, int]: ...


class Times(Protocol):
    """Tells when records were written: `bus.kafka.timestamps.Timestamps`."""

    def of(self, places: Iterable[Place], timeout: float = 1.0) -> dict[Place, int | None]: ...
    def forget(self, partition: Partition) -> None: ...


class Sampler:
    """Measures with every `step`. Used by one thread.

    `workers` tells who is alive; None when nobody can tell, because Redis is away.
    """

    def __init__(
        self,
        kafka: Kafka,
        times: Times,
        workers: Callable[[], list[WorkerPresence] | None],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kafka = kafka
        self._times = times
        self._workers = workers
        self._now = now
        self._clock = clock
        self._cluster: Cluster | None = None
        self._looked_at = self._firsts_at = self._all_at = self._retention_at = float("-inf")
        self._firsts: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        self._committed: dict[str, set[str]] = {}
        self._windows: dict[tuple[str, Partition], Window] = {}
        self._moved: dict[tuple[str, Partition], tuple[int, float]] = {}
        self._groups = Rows(GroupState)
        self._topics = Topics()
        self._sparklines: dict[str, tuple[list[Any], datetime | None]] | None = None
        self._is_away = False

    @property
    def is_embedded(self) -> bool:
        """Whether the embedded Kafka answered last."""
        return self._cluster is not None and self._cluster.cluster_id.startswith(_MOCK_CLUSTER)

    def step(self) -> bool:
        """Measure once and write it down; False when Kafka can't be reached, which is written down, too.

        Raises Django's DatabaseError.
        """
        try:
            self._look()
            cluster = self._cluster
            assert cluster is not None
            seen, errors, descriptions, workers = self._measure(cluster)
        except BrokerUnavailableError as error:
            self._kafka_is_away(error)
            return False
        now = self._now()
        self._save_groups(seen, errors, descriptions, workers, now)
        self._topics.save(cluster.topics, self._firsts, self._ends, seen, now, self._clock())
        self._save_cluster(cluster, now)
        return True

    # -- measuring --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        if self._cluster is None or self._clock() - self._looked_at >= LOOK_SECONDS:
            self._cluster = self._kafka.cluster()
            self._looked_at = self._clock()
        if not self.is_embedded and self._clock() - self._retention_at >= RETENTION_SECONDS:
            there = [name for name in self._topics.ours() if name in self._cluster.topics]
            self._topics.retention_ms = self._kafka.retention_ms(there)
            self._retention_at = self._clock()

    def _measure(
        self, cluster: Cluster
    ) -> tuple[dict[str, list[Seen]], dict[str, str], dict[str, GroupDescription], list[WorkerPresence] | None]:
        workers, names = self._workers(), list(catalog.groups())
        ours = _partitions(cluster.topics, self._topics.ours())
        commits = self._commits(names, cluster, workers or ())
        errors = {name: str(each) for name, each in commits.items() if isinstance(each, BrokerUnavailableError)}
        known = {name: each for name, each in commits.items() if not isinstance(each, BrokerUnavailableError)}
        others = {place for each in known.values() for place in each}.difference(ours)
        places = [*ours, *sorted(others)]
        self._read_ends(places)
        descriptions = {} if self.is_embedded else self._kafka.describe(names)
        told = {name: each for name, each in descriptions.items() if isinstance(each, GroupDescription)}
        seen = {
            name: self._seen(name, known[name], cluster, workers or (), told.get(name))
            for name in names
            if name in known
        }
        self._read_times([each for its in seen.values() for each in its])
        return seen, errors, told, workers

    def _commits(
        self, names: Sequence[str], cluster: Cluster, workers: Iterable[WorkerPresence]
    ) -> dict[str, dict[Partition, int] | BrokerUnavailableError]:
        # Kafka is asked about partitions that are named, only: see `bus.kafka.listing`.
        all_of_them = self._clock() - self._all_at >= ALL_TOPICS_SECONDS
        wanted = {}
        for name in names:
            topics = {*catalog.topics(), *self._read_by(name, workers)} if all_of_them else self._read_by(name, workers)
            wanted[name] = _partitions(cluster.topics, sorted(topics | self._committed.get(name, set())))
        found = self._kafka.committed(wanted)
        if all_of_them:
            self._all_at = self._clock()
            self._committed = {
                name: {topic for topic, _ in its} for name, its in found.items() if not isinstance(its, Exception)
            }
        return found

    def _read_by(self, group: str, workers: Iterable[WorkerPresence]) -> set[str]:
        """The topics that a group reads: those of its handlers here, and those that its workers have."""
        here = set(registry.for_group(group)) if group in registry.groups() else set()
        return {*here, *(topic for topic, _ in holdings(group, workers)), catalog.replay_topic(group)}

    def _read_ends(self, places: Sequence[Partition]) -> None:
        if self._clock() - self._firsts_at >= FIRSTS_SECONDS or any(each not in self._firsts for each in places):
            self._firsts = self._kafka.firsts(places)
            self._firsts_at = self._clock()
        ends = self._kafka.ends(places)
        for place, end in ends.items():
            if end < self._ends.get(place, 0):
                self._times.forget(place)  # it was made anew
        self._ends = ends

    def _seen(
        self,
        group: str,
        commits: Mapping[Partition, int],
        cluster: Cluster,
        workers: Iterable[WorkerPresence],
        description: GroupDescription | None,
    ) -> list[Seen]:
        held = holdings(group, workers)
        members = {
            place: member.client_id
            for member in (description.members if description else ())
            for place in member.partitions
        }
        topics = self._read_by(group, workers)
        if group not in registry.groups():
            topics |= {topic for topic, _ in commits}  # its handlers are in programs that this one doesn't know
        found = []
        for place in _partitions(cluster.topics, sorted(topics)):
            end = self._ends.get(place)
            if end is None:
                continue
            seen = self._partition(group, place, commits.get(place), end)
            seen.holding, seen.member = held.get(place), members.get(place, "")
            found.append(seen)
        return found

    def _partition(self, group: str, place: Partition, committed: int | None, end: int) -> Seen:
        at, position = self._clock(), arithmetic.position(committed, self._firsts.get(place, 0))
        window = self._windows.setdefault((group, place), Window())
        window.add(Measurement(at, position, end))
        last, since = self._moved.get((group, place), (-1, at))
        if last != position:
            self._moved[group, place] = position, at
            since = at
        return Seen(*place, end, committed, window.flow, window.lag_before, still_seconds=at - since)

    def _read_times(self, seen: Iterable[Seen]) -> None:
        wanted: dict[Place, list[Seen]] = {}
        for each in seen:
            if each.wants_time:
                wanted.setdefault((each.topic, each.partition, each.end - each.flow.lag), []).append(each)
        for place, at in self._times.of(wanted).items() if wanted else ():
            for each in wanted[place]:
                each.written_ms = at

    # -- writing ----------------------------------------------------------------------------------------------------

    def _save_groups(
        self,
        seen: Mapping[str, list[Seen]],
        errors: Mapping[str, str],
        descriptions: Mapping[str, GroupDescription],
        workers: Sequence[WorkerPresence] | None,
        now: datetime,
    ) -> None:
        if self._sparklines is None:
            kept = GroupState.objects.filter(is_ours=True).values_list("name", "sparkline", "sparkline_at")
            self._sparklines = {name: (points, at) for name, points, at in kept}
            GroupState.objects.filter(is_ours=True).exclude(name__in=catalog.groups()).update(is_ours=False)
        rows, now_ms = [], int(now.timestamp() * 1000)
        for name, its in seen.items():
            alive = None if workers is None else [each.worker for each in workers if _works_for(each, name)]
            fields = group_fields(its, now_ms, description=descriptions.get(name), workers=alive)
            points, at = moved_on(*self._sparklines.get(name, ([], None)), now, fields["lag"])
            self._sparklines[name] = points, at
            rows.append({"name": name, "is_ours": True, **fields, "sparkline": points, "sparkline_at": at})
        self._groups.save(rows, now)
        for name, error in errors.items():
            GroupState.objects.filter(pk=name).exclude(error=error).update(error=error)

    def _save_cluster(self, cluster: Cluster, now: datetime) -> None:
        fields = {
            "cluster_id": cluster.cluster_id[:64],
            "brokers": [each._asdict() for each in cluster.brokers],
            "is_embedded": self.is_embedded,
            "asked_at": now,
            "seen_at": now,
            "error": "",
            "limits": _EMBEDDED_LIMITS if self.is_embedded else [],
        }
        ClusterState.objects.update_or_create(pk=ClusterState.THE_ONE, defaults=fields)
        if self._is_away:
            self._is_away = False
            log.warning("kafka_back")

    def _kafka_is_away(self, error: BrokerUnavailableError) -> None:
        """What was measured before stands, with the time when it was."""
        if not self._is_away:
            self._is_away = True
            log.warning("kafka_away groups and topics aren't sampled: %s", error)
        self._looked_at = float("-inf")
        self._windows.clear()
        now = self._now()
        ClusterState.objects.update_or_create(
            pk=ClusterState.THE_ONE, defaults={"asked_at": now, "error": str(error)[:1000]}
        )


def _partitions(known: Mapping[str, int], topics: Iterable[str]) -> list[Partition]:
    return [(topic, number) for topic in topics for number in range(known.get(topic, 0))]


def _works_for(worker: WorkerPresence, group: str) -> bool:
    return any(its.group == group for its in worker.groups)
