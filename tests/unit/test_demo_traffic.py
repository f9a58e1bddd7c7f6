"""The demo shop's customers: what they do, and how it gets into Kafka."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest
from django.core.management import CommandError, call_command

import bus
from bus import catalog
from bus.catalog import TOPICS
from bus.errors import BrokerUnavailableError, BusError, InvalidEventError, PublishUnknownError
from bus.handlers import registry
from eventconsole.demo.catalog import INVENTORY, ORDER, PAYMENT
from eventconsole.demo.publishing import Parcel, Publishing, publish_on_bus
from eventconsole.demo.traffic import Draft, Traffic


def drafts(seed: int = 1, count: int = 4000) -> list[Draft]:
    at = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
    return list(islice(Traffic(seed, groups_for=registry.groups_for, now=lambda: at), count))


def test_the_same_seed_gives_the_same_events_and_another_one_others() -> None:
    assert drafts(1, 300) == drafts(1, 300)
    assert drafts(1, 300) != drafts(2, 300)


def test_customers_and_suppliers_cause_events_of_every_domain_that_follow_ups_dont() -> None:
    seen = {draft.topic for draft in drafts()}

    followed = {topic for topic in catalog.topics() if topic.startswith("payment.")}
    followed |= {TOPICS.ORDER_CONFIRMED, TOPICS.ORDER_STATUS_CHANGED}
    followed |= {TOPICS.INVENTORY_RESERVED, TOPICS.INVENTORY_RELEASED, TOPICS.INVENTORY_STOCK_LOW}
    specified = {value for name, value in vars(TOPICS).items() if name.isupper()}
    assert seen == specified - followed


def test_every_event_fits_its_model_without_surprises() -> None:
    plain = {"simulate", "simulateGroup", "paymentMethod", "paymentToken", "paymentId", "amount", "currency", "items"}
    for draft in drafts():
        model = catalog.topics()[draft.topic].model
        assert model is not None
        read = model.model_validate(draft.data)
        assert set(read.model_extra or {}) <= plain | {"threshold", "warehouseId"}
        assert draft.key
        assert draft.correlation_id.startswith("req-")
        assert draft.data.get("userId") == draft.user_id


def test_events_about_an_order_have_its_id_as_key_and_follow_each_other_in_order() -> None:
    steps = [TOPICS.ORDER_CREATED, TOPICS.ORDER_SHIPPED, TOPICS.ORDER_DELIVERED]
    of_order: dict[str, list[str]] = {}
    for draft in drafts():
        if draft.topic in steps:
            assert draft.key == draft.data["orderId"]
            of_order.setdefault(draft.key, []).append(draft.topic)

    assert all(topics == steps[: len(topics)] for topics in of_order.values())
    assert max(map(len, of_order.values())) == 3


def test_a_few_events_go_wrong_and_none_kills_a_worker() -> None:
    asked = Counter(draft.data.get("simulate") for draft in drafts(count=10_000))

    assert set(asked) == {None, "fail:2", "fail", "permanent", "slow:2"}
    assert 200 <= asked["fail:2"] <= 400
    assert 40 <= asked["fail"] <= 160
    assert 10 <= asked["permanent"] <= 100


def test_what_goes_wrong_for_good_is_limited_to_one_bystander() -> None:
    for draft in drafts(count=10_000):
        if "simulate" in draft.data:
            group = draft.data["simulateGroup"]
            assert group in registry.groups_for(draft.topic)
            assert draft.data["simulate"] not in ("fail", "permanent") or group not in (ORDER, PAYMENT, INVENTORY)


class Broker:
    """Stands in for the bus, with a clock that only waiting moves on."""

    def __init__(self, trouble: Sequence[BusError | None] = (), stop_after: float = 1000.0) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, list[str]]] = []
        self.drafts: list[Draft] = []
        self._trouble = list(trouble)
        self._stop_after = stop_after

    def publish(self, parcels: Sequence[Parcel]) -> list[BusError | None]:
        self.calls.append((self.now, [parcel.event_id for parcel in parcels]))
        error = self._trouble.pop(0) if self._trouble else None
        if error is None:
            self.drafts.extend(parcel.draft for parcel in parcels)
        return [error] * len(parcels)

    def wait(self, seconds: float) -> bool:
        assert seconds >= 0
        self.now += seconds
        return self.now >= self._stop_after

    def run(self, rate: float, count: int | None = None) -> int:
        source = iter(drafts(count=500))
        return Publishing(source, self.publish, rate=rate, wait=self.wait, clock=lambda: self.now).run(count)


def test_events_are_published_at_the_rate() -> None:
    broker = Broker(stop_after=10.0)

    assert broker.run(rate=2) == 20
    assert [at for at, _ in broker.calls][:4] == [0.0, 0.5, 1.0, 1.5]


def test_many_events_a_second_go_in_batches() -> None:
    broker = Broker(stop_after=0.99)

    assert broker.run(rate=200) == 200
    assert len(broker.calls) == 10


def test_it_ends_after_so_many_events() -> None:
    assert Broker().run(rate=200, count=33) == 33


def test_it_goes_on_after_an_outage_with_the_same_events_and_ids(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="eventconsole")
    away = [BrokerUnavailableError("no broker"), PublishUnknownError("e", "no answer"), BrokerUnavailableError("no")]
    broker = Broker([None, *away])

    assert broker.run(rate=2, count=5) == 5

    ids = [tuple(each) for _, each in broker.calls]
    assert ids[1] == ids[2] == ids[3] == ids[4]
    assert broker.drafts == drafts(count=5)
    assert [record.message for record in caplog.records] == [
        "traffic waits: an event can't be published",
        "traffic goes on",
    ]


def test_an_outage_isnt_made_up_for_with_a_burst() -> None:
    broker = Broker(stop_after=100.0)
    answers = broker.publish

    def slow(parcels: Sequence[Parcel]) -> list[BusError | None]:
        if broker.now == 1.0:
            broker.now += 60
        return answers(parcels)

    Publishing(iter(drafts(count=500)), slow, rate=1, wait=broker.wait, clock=lambda: broker.now).run()

    gaps = [later - at for (at, _), (later, _) in zip(broker.calls[2:], broker.calls[3:], strict=False)]
    assert gaps[0] <= 1.0
    assert set(gaps[1:]) == {1.0}


def test_refused_events_are_left_out_and_reported_once_per_topic(caplog: pytest.LogCaptureFixture) -> None:
    first = drafts(count=1)[0]
    source = iter([replace(first), replace(first), replace(first)])
    broker = Broker([InvalidEventError("data", "too strict"), InvalidEventError("data", "too strict")])

    published = Publishing(source, broker.publish, rate=1, wait=broker.wait, clock=lambda: broker.now).run(3)

    assert published == 1
    assert [record.message for record in caplog.records] == ["events of this topic are refused"]


def test_parcels_are_published_with_everything_that_the_draft_says(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, list[dict[str, Any]]]] = []

    def publish_batch(topic: str, events: list[dict[str, Any]], **options: Any) -> list[object]:
        calls.append((topic, events))
        if topic == "refused":
            return [bus.PublishFailure(event["event_id"], InvalidEventError("data", "no")) for event in events]
        if topic == "away":
            raise BrokerUnavailableError("no broker")
        return [bus.Published(event["event_id"], topic, 0, 0) for event in events]

    monkeypatch.setattr(bus, "publish_batch", publish_batch)
    first = drafts(count=1)[0]
    parcels = [Parcel(replace(first, topic=topic)) for topic in ("a", "a", "refused", "a", "away", "a")]

    errors = publish_on_bus(parcels)

    # What comes after an outage isn't tried: it would only wait as well.
    assert [(topic, len(events)) for topic, events in calls] == [("a", 2), ("refused", 1), ("a", 1), ("away", 1)]
    away = BrokerUnavailableError
    assert [type(error) for error in errors] == [type(None), type(None), InvalidEventError, type(None), away, away]
    assert calls[0][1][0] == {
        "data": first.data,
        "key": first.key,
        "priority": first.priority,
        "source": first.source,
        "correlation_id": first.correlation_id,
        "user_id": first.user_id,
        "event_id": parcels[0].event_id,
    }


@pytest.mark.parametrize("wrong", ["--rate=0", "--rate=-1", "--rate=fast", "--rate=nan", "--count=0", "--count=x"])
def test_a_wrong_option_of_the_command_is_refused_with_what_is_allowed(wrong: str) -> None:
    with pytest.raises(CommandError, match="allowed are"):
        call_command("demo_traffic", wrong)
