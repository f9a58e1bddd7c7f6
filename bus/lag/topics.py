"""What was seen of our topics, as rows of `TopicState`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from bus import catalog
from bus.kafka.consumer import Partition
from bus.lag.arithmetic import Measurement, Window
from bus.lag.rows import Rows
from bus.lag.sparkline import moved_on
from bus.lag.states import Seen
from bus.models import TopicState


class Topics:
    """Our topics: those of the catalog, the replay topics of our groups, and the dead letters of both."""

    def __init__(self) -> None:
        self._rows = Rows(TopicState)
        self._windows: dict[Partition, Window] = {}
        self._kept: dict[str, dict[str, Any]] | None = None
        #: How long they keep records, as far as Kafka can tell; -1: for ever.
        self.retention_ms: dict[str, int] = {}

    def ours(self) -> dict[str, TopicState.Kind]:
        """Their names, and what they are for."""
        kinds = dict.fromkeys(catalog.topics(), TopicState.Kind.EVENTS)
        kinds |= dict.fromkeys(map(catalog.replay_topic, catalog.groups()), TopicState.Kind.REPLAY)
        return kinds | dict.fromkeys(map(catalog.dead_letter_topic, [*kinds]), TopicState.Kind.DEAD_LETTERS)

    def save(
        self,
        known: Mapping[str, int],
        firsts: Mapping[Partition, int],
        ends: Mapping[Partition, int],
        seen: Mapping[str, Iterable[Seen]],
        now: datetime,
        clock: float,
    ) -> None:
        """Write what was measured of them. `known` are all topics of the cluster and their numbers of partitions."""
        if self._kept is None:
            names = ("name", "sparkline", "sparkline_at", "last_written_at")
            self._kept = {row["name"]: row for row in TopicState.objects.values(*names)}
        ours, consumers = self.ours(), _consumers(seen, int(now.timestamp() * 1000))
        rows = []
        for name, kind in ours.items():
            count = known.get(name, 0)
            # What couldn't be asked is as it was.
            if count and not any((name, number) in ends for number in range(count)):
                continue
            row = self._row(name, count, firsts, ends, now, clock)
            rows.append({**row, "kind": str(kind), "exists": count > 0, "consumers": consumers.get(name, [])})
        self._rows.save(rows, now)

    def _row(
        self,
        name: str,
        count: int,
        firsts: Mapping[Partition, int],
        ends: Mapping[Partition, int],
        now: datetime,
        clock: float,
    ) -> dict[str, Any]:
        assert self._kept is not None
        kept = self._kept.setdefault(name, {"sparkline": [], "sparkline_at": None})
        partitions, rate, moved = [], 0.0, False
        for number in range(count):
            end = ends.get((name, number))
            if end is None:
                continue
            first = min(end, firsts.get((name, number), 0))
            partitions.append({"partition": number, "first": first, "end": end})
            window = self._windows.setdefault((name, number), Window())
            window.add(Measurement(clock, 0, end))
            rate += window.flow.arriving
            moved |= window.moved
        points, at = moved_on(kept["sparkline"], kept["sparkline_at"], now, round(rate, 2))
        kept["sparkline"], kept["sparkline_at"] = points, at
        if moved:
            kept["last_written_at"] = now
        return {
            "name": name,
            "partition_count": count,
            "records": sum(each["end"] - each["first"] for each in partitions),
            "rate": round(rate, 2),
            "last_written_at": kept.get("last_written_at"),
            "retention_ms": self.retention_ms.get(name),
            "error": "",
            "sparkline": points,
            "sparkline_at": at,
            "partitions": partitions,
        }


def _consumers(seen: Mapping[str, Iterable[Seen]], now_ms: int) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for group, its in sorted(seen.items()):
        by_topic: dict[str, list[Seen]] = {}
        for each in its:
            by_topic.setdefault(each.topic, []).append(each)
        for topic, partitions in by_topic.items():
            ages = [age for each in partitions if (age := each.age_seconds(now_ms)) is not None]
            found.setdefault(topic, []).append(
                {
                    "group": group,
                    "lag": sum(each.flow.lag for each in partitions),
                    "timeLag": round(max(ages), 1) if ages else None,
                }
            )
    return found
