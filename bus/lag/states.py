"""What was measured of a group, put together as its row of `GroupState`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bus.kafka.consumer import Partition
from bus.kafka.groups import GroupDescription
from bus.lag import arithmetic
from bus.lag.arithmetic import Flow
from bus.lag.reasons import sentence
from bus.presence import Wait, Why, WorkerPresence

UNCOMMITTED_SECONDS: Final = 5.0
"""A worker that has nothing in hand commits what it handled within this time; else it doesn't get on."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What a worker says of one partition."""

    worker: str
    in_hand: int = 0
    oldest_ms: int | None = None
    wait: Wait | None = None


@dataclass(slots=True)
class Seen:
    """One partition of a group, as it was measured.

    `still_seconds`: for how long its commit hasn't moved. `written_ms`: when the record at its commit was written, if
    that was asked. `member`: who has the partition, as Kafka says.
    """

    topic: str
    partition: int
    end: int
    committed: int | None
    flow: Flow
    lag_before: int
    holding: Holding | None = None
    member: str = ""
    still_seconds: float = 0.0
    written_ms: int | None = None

    @property
    def wants_time(self) -> bool:
        """Whether its time lag is to be read from the record at its commit: no worker knows it."""
        if self.flow.lag <= 0:
            return False
        if self.holding is None:
            return True
        return self.holding.oldest_ms is None and self.still_seconds >= UNCOMMITTED_SECONDS

    def age_seconds(self, now_ms: int) -> float | None:
        """The age of its oldest event that isn't settled; None when that isn't known."""
        if self.flow.lag <= 0:
            return 0.0
        if self.holding is not None and self.holding.oldest_ms is not None:
            return max(0.0, (now_ms - self.holding.oldest_ms) / 1000)
        if self.wants_time:
            return None if self.written_ms is None else max(0.0, (now_ms - self.written_ms) / 1000)
        return 0.0  # handled, and about to be committed


def holdings(group: str, workers: Iterable[WorkerPresence]) -> dict[Partition, Holding]:
    """What workers say of the partitions that they have of a group."""
    found: dict[Partition, Holding] = {}
    for worker in sorted(workers, key=lambda each: each.seen_at):
        for its in worker.groups:
            if its.group != group:
                continue
            for name, in_hand in its.partitions.items():
                place = partition_of(name)
                if place is not None:
                    found[place] = Holding(worker.worker, in_hand, its.oldest_ms.get(name), its.waits.get(name))
    return found


def partition_of(name: str) -> Partition | None:
    """The partition that `topic[3]` names."""
    topic, _, number = name.removesuffix("]").rpartition("[")
    return (topic, int(number)) if topic and number.isdecimal() else None


def group_fields(
    seen: Sequence[Seen], now_ms: int, *, description: GroupDescription | None, workers: Sequence[str] | None
) -> dict[str, Any]:
    """The fields of a row that come from its partitions and members.

    `workers` are those of ours that are alive; None: nobody knows, because Redis can't be asked. Without a
    `description` Kafka can't tell about members, and they are the workers.
    """
    partitions = [_partition(each, now_ms, knows_workers=workers is not None) for each in seen]
    flows = [each.flow for each in seen]
    total, before = sum(flow.lag for flow in flows), sum(each.lag_before for each in seen)
    rate, arriving = sum(flow.rate for flow in flows), sum(flow.arriving for flow in flows)
    drain = arithmetic.drain_seconds(flows)
    time_lag = arithmetic.time_lag(each.age_seconds(now_ms) for each in seen if each.flow.lag > 0) if total else 0.0
    details = _members(description, workers or (), seen)
    return {
        "state": description.state if description else "",
        "members": len(details) if description or workers is not None else None,
        "workers": len(workers or ()),
        "topics": sorted({each.topic for each in seen}),
        "partition_count": len(seen),
        "lag": total,
        "time_lag_seconds": None if time_lag is None else round(time_lag, 1),
        "rate": round(rate, 2),
        "arriving": round(arriving, 2),
        "trend": arithmetic.trend(before, total, arriving),
        "drain_seconds": None if drain is None else round(drain, 1),
        "reason": sentence(partitions),
        "error": "",
        "member_details": details,
        "partitions": partitions,
    }


def _partition(seen: Seen, now_ms: int, *, knows_workers: bool) -> dict[str, Any]:
    flow, holding, age = seen.flow, seen.holding, seen.age_seconds(now_ms)
    wait = holding.wait if holding else None
    if holding is None and not seen.member and knows_workers and flow.lag > 0:
        wait = Wait(Why.NO_WORKER, "no worker has it")
    return {
        "topic": seen.topic,
        "partition": seen.partition,
        "end": seen.end,
        "committed": seen.committed,
        "lag": flow.lag,
        "timeLag": None if age is None else round(age, 1),
        "rate": round(flow.rate, 2),
        "arriving": round(flow.arriving, 2),
        "trend": arithmetic.trend(seen.lag_before, flow.lag, flow.arriving),
        "worker": holding.worker if holding else seen.member,
        "inHand": holding.in_hand if holding else 0,
        "waits": wait and wait_document(wait),
    }


def wait_document(wait: Wait) -> dict[str, Any]:
    """A reason as JSON."""
    return {
        "why": str(wait.why),
        "detail": wait.detail,
        "until": wait.until_ms,
        "since": wait.since_ms,
        "eventId": wait.event_id,
        "key": wait.key,
        "error": wait.error,
    }


def _members(
    description: GroupDescription | None, workers: Sequence[str], seen: Iterable[Seen]
) -> list[Mapping[str, Any]]:
    """Members as Kafka says, or as our workers do; a member's `worker` is empty when it isn't one of ours."""
    if description is not None:
        return [
            {
                "id": each.member_id,
                "client": each.client_id,
                "host": each.host,
                "worker": each.client_id if each.client_id in workers else "",
                "partitions": [f"{topic}[{number}]" for topic, number in each.partitions],
            }
            for each in sorted(description.members)
        ]
    theirs: dict[str, list[str]] = {name: [] for name in workers}
    for each in seen:
        if each.holding is not None:
            theirs[each.holding.worker].append(f"{each.topic}[{each.partition}]")
    return [
        {"id": name, "client": name, "host": "", "worker": name, "partitions": partitions}
        for name, partitions in sorted(theirs.items())
    ]
