"""The shop and its workers: if these fail, no scenario means anything."""

from __future__ import annotations

import signal
from collections.abc import Callable

import orjson

from tests.kafka.contact import committed, produce
from tests.kafka.subject import KafkaUnderTest
from tests.shop.fixtures import Shop
from tests.worker.process import Worker


def events(*orders: str) -> list[bytes]:
    """Events that say what to do, as a foreign producer writes them: their position is their id."""
    return [orjson.dumps({"metadata": {}, "data": {"n": n, "do": order}}) for n, order in enumerate(orders)]


def test_a_worker_does_what_the_events_say_and_stops_when_asked(
    kafka: KafkaUnderTest, open_shop: Callable[..., Shop], start_worker: Callable[..., Worker]
) -> None:
    shop = open_shop(groups=("billing", "mailing"), partitions=1)
    produce(kafka.bootstrap, shop.topic, events("ok", "fail:1", "slow:0.1"))
    worker = start_worker(shop)
    worker.wait_ready(groups=2)
    worker.wait_for(lambda: len(shop.effects.done()) == 6)
    for group in shop.plan.groups:
        assert sorted(shop.effects.done(group)) == [0, 1, 2]
        assert len(shop.effects.read("started", group)) == 4
    assert worker.sigterm() == 0
    for group in shop.plan.groups:
        assert committed(kafka.bootstrap, group, shop.topic) == {0: 3}


def test_a_worker_dies_at_the_named_point_and_a_second_one_goes_on(
    kafka: KafkaUnderTest, open_shop: Callable[..., Shop], start_worker: Callable[..., Worker]
) -> None:
    shop = open_shop(partitions=1)
    produce(kafka.bootstrap, shop.topic, events("ok"))
    first = start_worker(shop, crash_at=["bus.consumer.executor:Executor.run:before"])
    assert first.wait() == -signal.SIGKILL
    assert shop.effects.read() == []
    second = start_worker(shop)
    second.wait_for(lambda: shop.effects.done() == [0])


def test_an_exactly_once_handler_writes_to_the_workers_database(
    kafka: KafkaUnderTest, open_shop: Callable[..., Shop], start_worker: Callable[..., Worker]
) -> None:
    shop = open_shop(partitions=1, exactly_once=True)
    produce(kafka.bootstrap, shop.topic, events("fail:1", "ok"))
    worker = start_worker(shop)
    worker.wait_for(lambda: len(shop.effects.done()) == 2)
    assert worker.sigterm() == 0
    assert len(shop.sales()) == 2
    assert len(set(shop.sales())) == 2
