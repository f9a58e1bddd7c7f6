"""What the samplers ask and write: few queries, bounded batches, nothing that has changed left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bus import catalog
from bus.errors import BrokerUnavailableError
from bus.kafka.consumer import Partition
from bus.kafka.groups import Broker, Cluster, GroupDescription, GroupNames
from bus.lag.foreign import AT_ONCE, ForeignSampler
from bus.lag.rows import Rows
from bus.lag.sampler import Sampler
from bus.lag.sparkline import MOST_POINTS, moved_on
from bus.models import ClusterState, GroupState, TopicState

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
GROUP = "email-service-group"
TOPIC = "order.confirmed"


@dataclass
class Kafka:
    """A cluster in memory that counts what it is asked."""

    topics: dict[str, int] = field(default_factory=lambda: {TOPIC: 2})
    ends_of: dict[Partition, int] = field(default_factory=dict)
    commits: dict[str, dict[Partition, int]] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    is_complete: bool = True
    is_away: bool = False
    refused: set[str] = field(default_factory=set)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def cluster(self, timeout: float = 5.0) -> Cluster:
        self._look("cluster", 1)
        return Cluster("real", (Broker(1, "kafka", 9092),), self.topics)

    def ends(self, partitions: Iterable[Partition], timeout: float = 5.0) -> dict[Partition, int]:
        wanted = list(partitions)
        self._look("ends", len(wanted))
        return {each: self.ends_of.get(each, 0) for each in wanted}

    def firsts(self, partitions: Iterable[Partition], timeout: float = 5.0) -> dict[Partition, int]:
        wanted = list(partitions)
        self._look("firsts", len(wanted))
        return dict.fromkeys(wanted, 0)

    def committed(
        self, wanted: Mapping[str, Sequence[Partition]], timeout: float = 5.0
    ) -> dict[str, dict[Partition, int] | BrokerUnavailableError]:
        return self.all_commits(list(wanted))

    def all_commits(
        self, names: Sequence[str], timeout: float = 5.0
    ) -> dict[str, dict[Partition, int] | BrokerUnavailableError]:
        self._look("committed", len(names))
        return {
            name: BrokerUnavailableError("not allowed") if name in self.refused else self.commits.get(name, {})
            for name in names
        }

    def describe(
        self, names: Iterable[str], timeout: float = 5.0
    ) -> dict[str, GroupDescription | BrokerUnavailableError]:
        wanted = list(names)
        self._look("describe", len(wanted))
        return {name: GroupDescription("empty", ()) for name in wanted}

    def names(self, timeout: float = 10.0) -> GroupNames:
        self._look("names", 1)
        return GroupNames(self.foreign, self.is_complete)

    def retention_ms(self, topics: Sequence[str], timeout: float = 5.0) -> dict[str, int]:
        return dict.fromkeys(topics, 604_800_000)

    def _look(self, what: str, count: int) -> None:
        self.asked.append((what, count))
        if self.is_away:
            raise BrokerUnavailableError("Kafka is away")


@dataclass
class Times:
    """Records that were all written at noon."""

    asked: list[Any] = field(default_factory=list)

    def of(self, places: Iterable[Any], timeout: float = 1.0) -> dict[Any, int | None]:
        self.asked += places
        return dict.fromkeys(places, int(NOON.timestamp() * 1000))

    def forget(self, partition: Partition) -> None: ...


class Bench:
    """Samplers, and a clock that tests move."""

    def __init__(self) -> None:
        self.kafka, self.times, self.seconds = Kafka(), Times(), 0.0
        options: Any = {"now": lambda: NOON + timedelta(seconds=self.seconds), "clock": lambda: self.seconds}
        self.own = Sampler(self.kafka, self.times, list, **options)
        self.foreign = ForeignSampler(self.kafka, self.times, **options)

    def step(self, seconds: float = 2.0) -> bool:
        self.seconds += seconds
        return self.own.step()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def writes(queries: CaptureQueriesContext) -> list[str]:
    return [each["sql"][:60] for each in queries if each["sql"].startswith(("INSERT", "UPDATE", "DELETE"))]


def test_a_groups_rates_and_lag_follow_kafka(bench: Bench) -> None:
    bench.kafka.ends_of = {(TOPIC, 0): 100}
    bench.kafka.commits = {GROUP: {(TOPIC, 0): 40}}
    bench.step()
    for _ in range(5):
        bench.kafka.ends_of[TOPIC, 0] += 4
        bench.kafka.commits[GROUP][TOPIC, 0] += 10
        bench.step()

    state = GroupState.objects.get(pk=GROUP)

    assert (state.lag, state.rate, state.arriving) == (30, 5, 2)
    assert (state.trend, state.drain_seconds) == ("shrinking", 10)
    assert state.time_lag_seconds == 12
    assert TopicState.objects.get(pk=TOPIC).rate == 2
    assert TopicState.objects.get(pk=TOPIC).retention_ms == 604_800_000
    consumers = {each["group"]: each["lag"] for each in TopicState.objects.get(pk=TOPIC).consumers}
    assert consumers[GROUP] == 30


def test_topics_that_the_cluster_lacks_are_said_to(bench: Bench) -> None:
    bench.step()
    assert TopicState.objects.get(pk=TOPIC).exists
    assert not TopicState.objects.get(pk="order.shipped").exists


def test_nothing_is_written_anew_that_has_not_changed(bench: Bench) -> None:
    bench.step()
    bench.step(16)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        bench.step()
    assert not [each for each in writes(queries) if each.startswith("INSERT")]
    assert len(queries) <= 20
    assert set(GroupState.objects.values_list("sampled_at", flat=True)) == {NOON + timedelta(seconds=20)}


def test_a_group_that_may_not_be_asked_about_has_its_error_and_the_others_are_measured(bench: Bench) -> None:
    bench.step()
    bench.kafka.refused.add(GROUP)
    bench.step()
    assert GroupState.objects.get(pk=GROUP).error == "not allowed"
    assert GroupState.objects.get(pk=GROUP).sampled_at == NOON + timedelta(seconds=2)
    others = GroupState.objects.exclude(pk=GROUP)
    assert {each.sampled_at for each in others} == {NOON + timedelta(seconds=4)}
    bench.kafka.refused.clear()
    bench.step()
    assert GroupState.objects.get(pk=GROUP).sampled_at == NOON + timedelta(seconds=6)


def test_without_kafka_what_was_seen_stands_with_its_time(bench: Bench) -> None:
    bench.step()
    bench.kafka.is_away = True
    assert not bench.step()
    cluster = ClusterState.objects.get()
    assert cluster.error == "Kafka is away"
    assert cluster.seen_at == NOON + timedelta(seconds=2)
    assert GroupState.objects.get(pk=GROUP).sampled_at == NOON + timedelta(seconds=2)
    bench.kafka.is_away = False
    assert bench.step()
    assert ClusterState.objects.get().error == ""


def test_a_group_that_left_the_catalog_is_no_longer_ours(bench: Bench) -> None:
    GroupState.objects.create(name="retired", is_ours=True, sampled_at=NOON)
    bench.step()
    assert not GroupState.objects.get(pk="retired").is_ours
    assert GroupState.objects.filter(is_ours=True).count() == len(catalog.groups())


def foreign_groups(bench: Bench, count: int, partitions: int = 10) -> None:
    bench.kafka.topics["t"] = partitions
    bench.kafka.foreign = {f"f-{number:05}": "empty" for number in range(count)}
    bench.kafka.ends_of = {("t", number): 100 for number in range(partitions)}
    commits = {("t", number): 90 for number in range(partitions)}
    bench.kafka.commits = dict.fromkeys(bench.kafka.foreign, commits)


def test_foreign_groups_are_measured_a_few_at_a_time(bench: Bench) -> None:
    foreign_groups(bench, 10_000)
    bench.foreign.step()
    bench.kafka.asked.clear()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        bench.foreign.step()
    assert dict(bench.kafka.asked) == {"committed": AT_ONCE, "describe": AT_ONCE, "firsts": 10, "ends": 10}
    assert len(queries) <= 8
    assert GroupState.objects.count() == 2 * AT_ONCE
    state = GroupState.objects.get(pk="f-00060")
    assert (state.lag, state.partition_count, state.is_ours) == (100, 10, False)


def test_with_ten_thousand_rows_our_own_groups_cost_what_they_cost_without(bench: Bench) -> None:
    bench.step()
    with CaptureQueriesContext(
        connection,
    ) as before:
        bench.step()
    GroupState.objects.bulk_create(
        [GroupState(name=f"f-{number:05}", sampled_at=NOON, partitions=[{}] * 10) for number in range(10_000)],
        batch_size=500,
    )
    with CaptureQueriesContext(
        connection,
    ) as after:
        bench.step()
    assert len(after) == len(before)


def test_a_round_over_foreign_groups_ends_and_begins_again(bench: Bench) -> None:
    foreign_groups(bench, 120)
    steps = [bench.foreign.step() for _ in range(3)]
    assert max(steps) < 1
    assert ClusterState.objects.count() == 0
    assert bench.foreign.step() > 1
    bench.step()
    bench.kafka.foreign.pop("f-00007")
    bench.kafka.commits["f-00008"] = {("t", 0): 100}
    bench.seconds += 20
    for _ in range(3):
        bench.foreign.step()
    names = set(GroupState.objects.filter(is_ours=False).values_list("name", flat=True))
    assert "f-00007" not in names
    assert len(names) == 119
    assert ClusterState.objects.get().foreign_groups == 119
    assert GroupState.objects.get(pk="f-00008").lag == 0
    assert GroupState.objects.get(pk="f-00008").rate > 0


def test_an_incomplete_list_of_groups_deletes_nothing(bench: Bench) -> None:
    foreign_groups(bench, 3)
    bench.foreign.step()
    bench.kafka.foreign, bench.kafka.is_complete = {"f-00001": "empty"}, False
    bench.seconds += 20
    bench.foreign.step()
    assert GroupState.objects.count() == 3


def test_groups_that_could_not_be_measured_are_measured_later(bench: Bench) -> None:
    foreign_groups(bench, 3)
    bench.foreign._begin_round()
    bench.kafka.is_away = True
    with pytest.raises(BrokerUnavailableError):
        bench.foreign.step()
    bench.kafka.is_away = False
    bench.foreign.step()
    assert GroupState.objects.count() == 3


def test_a_group_whose_name_fits_no_database_holds_up_no_other(bench: Bench) -> None:
    bench.kafka.foreign = {"a\0b": "empty", "l" * 250: "empty", "theirs": "empty"}
    bench.foreign.step()
    assert list(GroupState.objects.values_list("name", flat=True)) == ["theirs"]


def test_what_fails_oddly_is_left_for_the_next_round(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign_groups(bench, AT_ONCE + 1)
    with monkeypatch.context() as patched:
        patched.setattr(bench.kafka, "describe", lambda names, timeout=5.0: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bench.foreign.step()
    bench.foreign.step()
    assert GroupState.objects.count() == 1


def test_rows_that_somebody_deleted_are_written_again() -> None:
    rows = Rows(GroupState)
    row: dict[str, Any] = {
        field.attname: field.get_default()
        for field in GroupState._meta.concrete_fields
        if field.attname not in ("name", "sampled_at")
    }
    for second in range(3):
        rows.save([{**row, "name": "a"}, {**row, "name": "b"}], NOON + timedelta(seconds=second))
        if second == 0:
            GroupState.objects.filter(pk="a").delete()
    assert GroupState.objects.count() == 2


def test_a_sparkline_has_a_point_for_each_step_and_none_for_what_nobody_saw() -> None:
    points, at = moved_on([], None, NOON, 1)
    assert (points, at) == ([1], NOON)
    assert moved_on(points, at, NOON + timedelta(seconds=14), 2) == ([1], NOON)
    points, at = moved_on(points, at, NOON + timedelta(seconds=16), 2)
    assert (points, at) == ([1, 2], NOON + timedelta(seconds=15))
    assert moved_on(points, at, NOON + timedelta(seconds=61), 3)[0] == [1, 2, None, None, 3]
    assert moved_on(points, at, NOON + timedelta(seconds=61), 3, repeat=True)[0] == [1, 2, 2, 2, 3]
    assert len(moved_on([0] * MOST_POINTS, NOON, NOON + timedelta(days=9), 3)[0]) == MOST_POINTS
    assert moved_on([1], NOON + timedelta(hours=1), NOON, 3) == ([3], NOON)  # a clock that was set back
