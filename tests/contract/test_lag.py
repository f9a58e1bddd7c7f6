"""Lag as it is sampled: of a shop's groups, with workers and without, and of groups of others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from confluent_kafka import Consumer, TopicPartition

from bus import catalog, conf
from bus.kafka.groups import Groups
from bus.kafka.timestamps import Timestamps
from bus.lag.foreign import ForeignSampler
from bus.lag.sampler import Sampler
from bus.ledger import Ledger
from bus.models import ClusterState, GroupState, TopicState
from bus.presence import Presence, Why
from tests.kafka.contact import produce
from tests.kafka.subject import ONLY_EMBEDDED, ONLY_REAL, KafkaUnderTest
from tests.processes import wait_until
from tests.shop.fixtures import Shop
from tests.unit.dispatch_stage import value_of

pytestmark = pytest.mark.django_db(transaction=True)

OpenShop = Callable[..., Shop]
PATIENCE = 40.0


@pytest.fixture
def new_sampler() -> Iterator[Callable[[], Sampler]]:
    with ExitStack() as cleanup:

        def make() -> Sampler:
            settings = conf.current()
            groups, times = Groups(settings), Timestamps(settings)
            cleanup.callback(times.close)
            cleanup.callback(groups.close)
            return Sampler(groups, times, Presence(Ledger(settings=settings)).alive)

        yield make


def sampled(sampler: Sampler, group: str) -> GroupState:
    assert sampler.step()
    return GroupState.objects.get(pk=group)


def commit(kafka: KafkaUnderTest, group: str, topic: str, offsets: dict[int, int]) -> None:
    with closing(Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})) as client:
        client.commit(offsets=[TopicPartition(topic, *each) for each in offsets.items()], asynchronous=False)


def send(kafka: KafkaUnderTest, topic: str, count: int, partition: int = 0) -> None:
    values: list[bytes | None] = [value_of(f"{topic}-{time.time_ns()}-{number}") for number in range(count)]
    produce(kafka.bootstrap, topic, values, partition=partition)


def test_lag_is_what_was_published_less_what_was_committed(
    kafka: KafkaUnderTest, open_shop: OpenShop, new_sampler: Callable[[], Sampler]
) -> None:
    shop, sampler = open_shop(partitions=2), new_sampler()
    send(kafka, shop.topic, 7, partition=0)
    send(kafka, shop.topic, 5, partition=1)
    assert sampled(sampler, shop.group).lag == 12  # it never committed
    commit(kafka, shop.group, shop.topic, {0: 4})

    state = sampled(sampler, shop.group)

    assert state.lag == 8
    found = {each["partition"]: each for each in state.partitions if each["topic"] == shop.topic}
    assert [(found[number]["committed"], found[number]["end"], found[number]["lag"]) for number in (0, 1)] == [
        (4, 7, 3),
        (None, 5, 5),
    ]
    assert found[0]["waits"]["why"] == Why.NO_WORKER
    assert state.reason == "No worker runs." if state.partition_count == 2 else "no worker" in state.reason
    commit(kafka, shop.group, shop.topic, {0: 7, 1: 5})
    assert sampled(sampler, shop.group).lag == 0


def test_replays_of_the_group_count(
    kafka: KafkaUnderTest, open_shop: OpenShop, new_sampler: Callable[[], Sampler]
) -> None:
    shop = open_shop()
    replays = catalog.replay_topic(shop.group)
    produce(kafka.bootstrap, replays, [b"x", b"y"])
    state = sampled(new_sampler(), shop.group)
    assert state.lag == 2
    assert replays in state.topics
    assert TopicState.objects.get(pk=replays).kind == TopicState.Kind.REPLAY
    assert TopicState.objects.get(pk=replays).records == 2


def test_the_time_lag_grows_until_the_event_is_handled(
    kafka: KafkaUnderTest,
    open_shop: OpenShop,
    new_sampler: Callable[[], Sampler],
    start_worker: Callable[..., object],
) -> None:
    shop, sampler = open_shop(), new_sampler()
    sent_at = time.time()
    send(kafka, shop.topic, 1)

    ages: list[float] = []

    def is_known() -> bool:
        age = sampled(sampler, shop.group).time_lag_seconds
        ages.extend([] if age is None else [age])
        return len(ages) > 3

    wait_until(is_known, PATIENCE, "time lags", pause=0.3)
    assert ages == sorted(ages)
    assert ages[-1] > ages[0]
    assert abs(ages[-1] - (time.time() - sent_at)) < 2

    start_worker(shop)
    wait_until(lambda: sampled(sampler, shop.group).lag == 0, PATIENCE, "a group that has caught up", pause=0.3)
    state = GroupState.objects.get(pk=shop.group)
    assert state.time_lag_seconds == 0
    assert state.drain_seconds == 0
    assert state.reason == ""


def test_a_worker_tells_how_old_its_oldest_event_is_and_why_it_waits(
    kafka: KafkaUnderTest,
    open_shop: OpenShop,
    new_sampler: Callable[[], Sampler],
    start_worker: Callable[..., object],
) -> None:
    shop = open_shop(partitions=1, delays=(30.0,))
    sampler = new_sampler()
    value = b'{"metadata": {"eventId": "e-1"}, "data": {"n": 1, "do": "fail"}}'
    produce(kafka.bootstrap, shop.topic, [value], key=b"order-77")
    worker = start_worker(shop)

    def waits() -> bool:
        return "for a retry" in sampled(sampler, shop.group).reason

    worker.wait_for(waits, PATIENCE)  # type: ignore[attr-defined]
    state = GroupState.objects.get(pk=shop.group)
    [place] = [each for each in state.partitions if each["topic"] == shop.topic]
    assert place["waits"]["key"] == "order-77"
    assert place["waits"]["until"] > time.time() * 1000
    assert place["inHand"] == 1
    assert 0 <= place["timeLag"] < 60
    assert state.workers == 1
    assert [each["worker"] for each in state.member_details] == [place["worker"]]


def test_a_stopped_broker_is_an_error_and_what_was_seen_stands(
    stoppable_kafka: KafkaUnderTest, open_shop: OpenShop, new_sampler: Callable[[], Sampler]
) -> None:
    shop, sampler = open_shop(), new_sampler()
    send(stoppable_kafka, shop.topic, 3)
    before = sampled(sampler, shop.group)
    assert ClusterState.objects.get().error == ""
    stoppable_kafka.stop()

    assert not sampler.step()

    state = ClusterState.objects.get()
    assert "KAFKA_BROKERS" in state.error
    assert state.seen_at is not None
    assert state.asked_at > state.seen_at
    assert GroupState.objects.get(pk=shop.group).sampled_at == before.sampled_at
    stoppable_kafka.start()
    wait_until(sampler.step, PATIENCE, "samples after the broker came back")
    assert ClusterState.objects.get().error == ""
    assert sampled(sampler, shop.group).lag == 3


@ONLY_EMBEDDED
def test_what_the_embedded_kafka_cannot_tell_is_said(
    kafka: KafkaUnderTest, open_shop: OpenShop, new_sampler: Callable[[], Sampler]
) -> None:
    shop = open_shop()
    state = sampled(new_sampler(), shop.group)
    assert (state.state, state.members, state.is_ours) == ("", 0, True)
    cluster = ClusterState.objects.get()
    assert cluster.is_embedded
    assert any("can't list consumer groups" in each for each in cluster.limits)
    GroupState.objects.create(name="stranger", sampled_at=state.sampled_at)
    settings = conf.current()
    assert ForeignSampler(Groups(settings), Timestamps(settings)).step() > 0  # embedded: no child is started
    assert not GroupState.objects.filter(pk="stranger").exists()


@ONLY_REAL
def test_groups_of_others_are_seen(
    kafka: KafkaUnderTest, open_shop: OpenShop, unique: Callable[[str], str], new_sampler: Callable[[], Sampler]
) -> None:
    shop, name = open_shop(partitions=2), unique("foreign")
    send(kafka, shop.topic, 6, partition=1)
    commit(kafka, name, shop.topic, {0: 0, 1: 2})
    sampled(new_sampler(), shop.group)
    settings, seconds = conf.current(), [0.0]
    groups, times = Groups(settings), Timestamps(settings)
    sampler = ForeignSampler(groups, times, clock=lambda: seconds[0])

    def round_over() -> GroupState | None:
        seconds[0] += 20
        while sampler.step() < 1:
            pass
        return GroupState.objects.filter(pk=name, time_lag_seconds__isnull=False).first()

    with closing(times), closing(groups):
        wait_until(lambda: round_over() is not None, PATIENCE, "the group and its time lag")
    state = GroupState.objects.get(pk=name)
    assert (state.lag, state.is_ours, state.state, state.members) == (4, False, "empty", 0)
    assert state.topics == [shop.topic]
    assert state.reason == "It has no members."
    assert GroupState.objects.get(pk=shop.group).is_ours
    cluster = ClusterState.objects.get()
    assert cluster.foreign_groups >= 1
    assert cluster.foreign_round_at is not None


def test_without_redis_lag_is_known_and_workers_are_not(
    kafka: KafkaUnderTest, open_shop: OpenShop, new_sampler: Callable[[], Sampler]
) -> None:
    shop = open_shop(partitions=1)
    send(kafka, shop.topic, 2)
    sampler = new_sampler()
    sampler._workers = lambda: None
    state = sampled(sampler, shop.group)
    assert state.lag == 2
    assert state.reason == ""
