"""What publishing tells the activity stream: what is in Kafka, and what was sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from bus.activity import Transition
from bus.activity.sample import MOST_TRANSITIONS
from bus.errors import PublishUnknownError
from tests.unit.heard import Heard
from tests.unit.producer_bench import Bench

TOPIC = "order.created"


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_an_acknowledged_event_is_told_of_with_what_its_publisher_said(bench: Bench) -> None:
    publishing = bench.start(
        bench.producer.publish, TOPIC, {"text": ',"data":{"priority":"low"}'}, key="ключ", event_id='a,"data":',
        priority="high", source="checkout", correlation_id="c-1", user_id='u",\\', published_by="web",
    )  # fmt: skip
    bench.records.poll()
    publishing.result(5)

    [told] = bench.heard.activity.transitions
    assert told == Transition(
        told.at_ms, "published", 'a,"data":', TOPIC, "", 1, 0, "ключ", "high", "checkout", 'u",\\', "c-1",
        duration_ms=told.duration_ms, worker="web",
    )  # fmt: skip
    assert told.duration_ms is not None
    assert told.duration_ms >= 0
    assert bench.heard.activity.counts == [(TOPIC, "", "published", 1)]


def test_an_event_that_takes_the_exact_encoding_is_told_of_too(bench: Bench) -> None:
    publishing = bench.start(bench.producer.publish, TOPIC, {"huge": 2**70}, source="checkout")
    bench.records.poll()
    publishing.result(5)

    assert [each.source for each in bench.heard.activity.transitions] == ["checkout"]


def test_an_event_that_kafka_refuses_is_not_published(bench: Bench) -> None:
    publishing = bench.start(bench.producer.publish, TOPIC, {}, event_id="mine")
    bench.records.poll("no answer")
    with pytest.raises(PublishUnknownError):
        publishing.result(5)

    assert bench.heard.counts == {}


def test_a_resend_is_a_duplicate_that_tells_where_the_first_one_is(bench: Bench) -> None:
    publishing = bench.start(bench.producer.publish, TOPIC, {}, event_id="mine")
    bench.records.poll()
    publishing.result(5)
    bench.producer.publish(TOPIC, {}, event_id="mine", key="k", published_by="again")
    asyncio.run(bench.producer.apublish(TOPIC, {}, event_id="mine"))

    assert bench.heard.counts == {"published": 1, "duplicate": 2}
    again = [each for each in bench.heard.of("mine") if each.worker == "again"]
    assert [(each.outcome, each.group, each.partition, each.offset, each.key) for each in again] == [
        ("duplicate", "", 1, 0, "k")
    ]


def test_copies_within_a_batch_are_duplicates_only_if_the_first_one_is_published(bench: Bench) -> None:
    batch = [{"data": {}, "event_id": "a"}, {"data": {}}, {"data": {}, "event_id": "a"}, {"data": {}, "event_id": "a"}]
    publishing = bench.start(bench.producer.publish_batch, TOPIC, batch, sent=2)
    bench.records.poll()
    publishing.result(5)
    assert bench.heard.counts == {"published": 2, "duplicate": 2}

    publishing = bench.start(bench.producer.publish_batch, TOPIC, [{"data": {}, "event_id": "b"}] * 2)
    bench.records.poll("refused")
    publishing.result(5)
    assert bench.heard.counts == {"published": 2, "duplicate": 2}


def test_an_id_that_another_call_is_publishing_is_no_duplicate(bench: Bench) -> None:
    bench.ledger.claims["mine"] = "another"
    bench.producer.publish_batch(TOPIC, [{"data": {}, "event_id": "mine"}])

    assert bench.heard.counts == {}


def test_a_large_batch_is_counted_exactly_and_described_in_part(bench: Bench) -> None:
    publishing = bench.start(bench.producer.publish_batch, TOPIC, [{"data": {}}] * 700, sent=700)
    bench.records.poll()
    publishing.result(5)

    assert bench.heard.counts == {"published": 700}
    assert len(bench.heard.activity.transitions) == MOST_TRANSITIONS


def test_closing_writes_what_there_is_and_does_not_wait_long_for_it(bench: Bench) -> None:
    bench.producer.close(5.0)
    bench.producer.close(0.1)

    assert bench.heard.closed == [0.3, 0.1]


@pytest.mark.expects_errors("activity_not_described")
def test_an_event_that_cannot_be_described_is_published_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(its: Heard, transition: Transition) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(Heard, "keep", keep)
    publishing = bench.start(bench.producer.publish, TOPIC, {}, event_id="mine")
    bench.records.poll()

    assert publishing.result(5).event_id == "mine"
    assert bench.producer.publish(TOPIC, {}, event_id="mine").duplicate
