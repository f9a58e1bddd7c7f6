"""The demo shop: who handles what, `data.simulate`, the flows of the specification."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import bus
from bus import catalog, handlers
from bus.catalog import CONSUMER_GROUPS, TOPICS
from bus.envelope import Metadata
from bus.errors import BrokerUnavailableError, InvalidEventError, PermanentError, PublishInFlightError
from bus.handlers import Delivery, Handler, registry
from bus.schemas.base import example
from eventconsole.demo import outages, simulation
from eventconsole.demo.catalog import INVENTORY, ORDER, PAYMENT
from eventconsole.demo.follow_ups import follow_up_id
from eventconsole.demo.handlers.payment import ACCOUNT_CLOSED, DECLINED
from eventconsole.demo.simulation import AS_USUAL, Course, course_of

GROUPS = {
    CONSUMER_GROUPS.NOTIFICATION,
    CONSUMER_GROUPS.ANALYTICS,
    CONSUMER_GROUPS.EMAIL,
    CONSUMER_GROUPS.RECOMMENDATION,
    ORDER,
    PAYMENT,
    INVENTORY,
}
SPECIFIED = sorted(value for name, value in vars(TOPICS).items() if name.isupper())


def delivery(attempt: int = 1, generation: int = 0, group: str = CONSUMER_GROUPS.EMAIL) -> Delivery:
    return Delivery(group, "user.registered", 0, 7, attempt, generation, "worker-1")


@contextmanager
def delivered(what: Delivery) -> Iterator[None]:
    token = handlers._delivery.set(what)
    try:
        yield
    finally:
        handlers._delivery.reset(token)


def run(each: Handler, data: Any, metadata: Metadata, what: Delivery | None = None) -> None:
    with delivered(what or delivery(group=each.group)):
        outcome = each.function(data, metadata)
        if inspect.isawaitable(outcome):
            asyncio.run(_wait_for(outcome))


async def _wait_for(outcome: Any) -> None:
    await outcome


class Published:
    """Stands in for the bus: keeps what is published, a second event with the same id only once."""

    def __init__(self) -> None:
        self.events: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {}

    def publish(self, topic: str, data: dict[str, Any], **fields: Any) -> None:
        self.events.setdefault(fields["event_id"], (topic, data, fields))

    def flow(self, topic: str, data: dict[str, Any]) -> list[str]:
        """Publish, and hand everything that follows to every group, until nothing does. Returns the topics."""
        self.publish(topic, data, event_id="first", correlation_id="req-1", user_id="user-1")
        handled: set[str] = set()
        while len(handled) < len(self.events):
            for event_id, (name, content, fields) in list(self.events.items()):
                if event_id not in handled:
                    handled.add(event_id)
                    self._hand_out(event_id, name, content, fields)
        return [name for name, _, _ in self.events.values()]

    def _hand_out(self, event_id: str, name: str, content: dict[str, Any], fields: dict[str, Any]) -> None:
        model = catalog.topics()[name].model
        assert model is not None
        model.model_validate(content)
        labels = {key: fields[key] for key in ("correlation_id", "user_id")}
        metadata = Metadata(event_id, name, "2024-01-15T10:30:00.000Z", **labels)
        for group in registry.groups_for(name):
            if group in GROUPS:
                run(registry.for_group(group)[name], content, metadata)

    def data_of(self, topic: str) -> dict[str, Any]:
        return next(data for name, data, _ in self.events.values() if name == topic)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Published:
    stand_in = Published()
    monkeypatch.setattr(bus, "publish", stand_in.publish)
    return stand_in


ORDER_DATA = {
    "orderId": "order-17",
    "userId": "user-1",
    "totalAmount": 30.5,
    "currency": "EUR",
    "items": [{"productId": "prod-1", "quantity": 2}, {"productId": "prod-2", "quantity": 1}],
}


@pytest.mark.parametrize("topic", SPECIFIED)
def test_each_topic_has_a_handler(topic: str) -> None:
    assert CONSUMER_GROUPS.ANALYTICS in registry.groups_for(topic)


def test_notification_reads_orders_payments_and_abandoned_carts() -> None:
    wanted = {topic for topic in SPECIFIED if topic.startswith(("order.", "payment."))} | {TOPICS.CART_ABANDONED}

    assert set(registry.for_group(CONSUMER_GROUPS.NOTIFICATION)) == wanted


def test_every_group_is_in_the_catalog_and_has_handlers() -> None:
    assert set(catalog.groups()) >= GROUPS
    assert set(registry.groups()) >= GROUPS
    assert handlers.problems() == []


def test_some_handlers_are_sync_and_some_are_async() -> None:
    kinds = {each.is_async for each in registry.all() if each.group in GROUPS}

    assert kinds == {True, False}


@pytest.mark.parametrize("data", [{}, {"simulate": None}, {"orderId": "order-1"}])
def test_an_event_that_asks_for_nothing_goes_as_usual(data: dict[str, Any]) -> None:
    assert course_of(data, delivery()) == AS_USUAL


def test_fail_fails_every_attempt_until_the_event_is_replayed() -> None:
    assert all(course_of({"simulate": "fail"}, delivery(attempt)).fails for attempt in range(1, 20))
    assert course_of({"simulate": "fail"}, delivery(1, generation=1)) == AS_USUAL


def test_fail_2_fails_the_first_two_attempts() -> None:
    failed = [course_of({"simulate": "fail:2"}, delivery(attempt)).fails for attempt in (1, 2, 3, 4)]

    assert failed == [True, True, False, False]
    assert course_of({"simulate": "fail:2"}, delivery(1, generation=1)) == AS_USUAL


def test_permanent_fails_for_good_until_the_event_is_replayed() -> None:
    assert course_of({"simulate": "permanent"}, delivery()) == Course(fails=True, is_permanent=True)
    assert course_of({"simulate": "permanent"}, delivery(generation=2)) == AS_USUAL


@pytest.mark.parametrize(("asked", "seconds"), [("slow:3", 3.0), ("slow:0.25", 0.25), ("slow:600", 600.0)])
def test_slow_takes_longer_until_the_event_is_replayed(asked: str, seconds: float) -> None:
    assert course_of({"simulate": asked}, delivery()) == Course(seconds=seconds)
    assert course_of({"simulate": asked}, delivery(generation=1)) == AS_USUAL


def test_crash_kills_the_worker_even_when_the_event_is_replayed() -> None:
    assert course_of({"simulate": "crash"}, delivery()).crashes
    assert course_of({"simulate": "crash"}, delivery(generation=1)).crashes


@pytest.mark.parametrize(
    "asked",
    [
        *(
            "",
            "Fail",
            "fail:",
            "fail:0",
            "fail:101",
            "fail:1.5",
            "fail:-1",
            "fail:two",
            "fail:٣",
            "fail:2\n",
            "explode",
        ),
        *("slow", "slow:", "slow:0", "slow:601", "slow:1e3", "slow:.5", "permanent:1", "crash:2"),
        *(1, True, ["fail"], {}),
    ],
)
def test_what_isnt_allowed_is_refused_for_good_with_what_is_allowed(asked: object) -> None:
    with pytest.raises(PermanentError) as caught:
        course_of({"simulate": asked}, delivery())

    message = str(caught.value)
    assert repr(asked) in message
    assert all(word in message for word in ('"fail"', '"fail:N"', '"permanent"', '"slow:S"', '"crash"'))


@pytest.mark.parametrize("asked", ["fail", "fail:2", "permanent", "slow:3", "crash"])
def test_simulate_group_leaves_the_other_groups_alone(asked: str) -> None:
    data = {"simulate": asked, "simulateGroup": CONSUMER_GROUPS.EMAIL}

    assert course_of(data, delivery()) != AS_USUAL
    assert course_of(data, delivery(group=CONSUMER_GROUPS.ANALYTICS)) == AS_USUAL


@pytest.mark.parametrize("group", ["email", "", 5, [CONSUMER_GROUPS.EMAIL]])
def test_an_unknown_simulate_group_is_refused_with_the_known_ones(group: object) -> None:
    with pytest.raises(PermanentError, match=CONSUMER_GROUPS.EMAIL):
        course_of({"simulate": "fail", "simulateGroup": group}, delivery())


def _handlers() -> list[tuple[str, str]]:
    return [(group, topic) for group in sorted(GROUPS) for topic in sorted(registry.for_group(group))]


@pytest.mark.parametrize(("group", "topic"), _handlers())
def test_every_handler_obeys_simulate_before_it_does_anything(published: Published, group: str, topic: str) -> None:
    each = registry.for_group(group)[topic]
    metadata = Metadata("event-1", topic, "2024-01-15T10:30:00.000Z")

    with pytest.raises(Exception, match=r".+") as failure:
        run(each, {**example(catalog.topics()[topic].model), "simulate": "fail"}, metadata)
    with pytest.raises(outages.RejectedError):
        run(each, {**example(catalog.topics()[topic].model), "simulate": "permanent"}, metadata)

    assert type(failure.value).__module__ == outages.__name__
    assert not isinstance(failure.value, PermanentError)
    assert published.events == {}


@pytest.mark.parametrize(("group", "topic"), _handlers())
@pytest.mark.parametrize("data", [{}, {"orderId": 2**70, "productId": 1, "items": [{}] * 50, "quantity": "3"}])
def test_no_handler_fails_by_chance(published: Published, group: str, topic: str, data: dict[str, Any]) -> None:
    for content in (data, example(catalog.topics()[topic].model)):
        run(registry.for_group(group)[topic], content, Metadata("event-1", topic, "2024-01-15T10:30:00.000Z"))


def test_a_slow_handler_waits_and_then_does_its_work() -> None:
    steps: list[object] = []

    @simulation.simulated(outages.SmtpError("451"), sleep=steps.append)
    def work(data: Any, metadata: Metadata) -> None:
        steps.append("done")

    with delivered(delivery()):
        work({"simulate": "slow:3"}, Metadata("event-1", "user.registered", ""))

    assert steps == [3.0, "done"]


async def test_a_slow_async_handler_waits_without_blocking_the_loop() -> None:
    steps: list[object] = []

    async def asleep(seconds: float) -> None:
        steps.append(seconds)

    @simulation.simulated(outages.SmtpError("451"), asleep=asleep)
    async def work(data: Any, metadata: Metadata) -> None:
        steps.append("done")

    with delivered(delivery()):
        await work({"simulate": "slow:3"}, Metadata("event-1", "user.registered", ""))

    assert steps == [3.0, "done"]


def test_crash_kills_the_worker_before_the_handler_runs() -> None:
    steps: list[str] = []

    def crash() -> None:
        raise SystemExit(9)

    @simulation.simulated(outages.SmtpError("451"), crash=crash)
    def work(data: Any, metadata: Metadata) -> None:
        steps.append("done")

    with delivered(delivery()), pytest.raises(SystemExit):
        work({"simulate": "crash"}, Metadata("event-1", "user.registered", ""))

    assert steps == []


def test_an_order_is_reserved_paid_confirmed_and_taken_from_stock(published: Published) -> None:
    topics = published.flow(TOPICS.ORDER_CREATED, {**ORDER_DATA, "paymentToken": "tok_visa"})

    assert sorted(topics) == sorted(
        [
            TOPICS.ORDER_CREATED,
            TOPICS.INVENTORY_RESERVED,
            TOPICS.PAYMENT_INITIATED,
            TOPICS.PAYMENT_SUCCEEDED,
            TOPICS.ORDER_CONFIRMED,
            TOPICS.ORDER_STATUS_CHANGED,
            TOPICS.INVENTORY_UPDATED,
            TOPICS.INVENTORY_UPDATED,
        ]
    )
    assert published.data_of(TOPICS.ORDER_CONFIRMED)["totalAmount"] == 30.5
    assert published.data_of(TOPICS.ORDER_CONFIRMED)["paymentId"] == "payment-17"


def test_a_declined_payment_cancels_the_order_and_frees_its_stock(published: Published) -> None:
    topics = published.flow(TOPICS.ORDER_CREATED, {**ORDER_DATA, "paymentToken": DECLINED})

    assert TOPICS.PAYMENT_FAILED in topics
    assert TOPICS.ORDER_CANCELLED in topics
    assert published.data_of(TOPICS.INVENTORY_RELEASED)["items"] == ORDER_DATA["items"]
    assert not {TOPICS.ORDER_CONFIRMED, TOPICS.PAYMENT_REFUNDED} & set(topics)


@pytest.mark.parametrize(
    ("token", "topic"), [("tok_visa", TOPICS.PAYMENT_REFUNDED), (ACCOUNT_CLOSED, TOPICS.PAYMENT_REFUND_FAILED)]
)
def test_a_paid_order_that_is_cancelled_is_refunded(published: Published, token: str, topic: str) -> None:
    cancelled = {"orderId": "order-17", "paymentId": "payment-17", "amount": 30.5, "paymentToken": token}

    topics = published.flow(TOPICS.ORDER_CANCELLED, cancelled)

    assert sorted(topics) == sorted([TOPICS.ORDER_CANCELLED, TOPICS.INVENTORY_RELEASED, topic])
    assert published.data_of(topic)["refundId"] == "refund-17"


@pytest.mark.parametrize(("quantity", "is_low"), [(9, True), (0, True), (10, False), (None, False)])
def test_stock_below_its_threshold_is_reported(published: Published, quantity: int | None, is_low: bool) -> None:
    topics = published.flow(TOPICS.INVENTORY_UPDATED, {"productId": "prod-1", "quantity": quantity})

    assert (TOPICS.INVENTORY_STOCK_LOW in topics) is is_low


def test_an_abandoned_cart_reaches_notification_analytics_and_recommendation(published: Published) -> None:
    published.flow(TOPICS.CART_ABANDONED, example(catalog.topics()[TOPICS.CART_ABANDONED].model))

    assert {CONSUMER_GROUPS.NOTIFICATION, CONSUMER_GROUPS.ANALYTICS, CONSUMER_GROUPS.RECOMMENDATION} <= set(
        registry.groups_for(TOPICS.CART_ABANDONED)
    )
    assert len(published.events) == 1


def test_follow_ups_carry_the_correlation_id_the_customer_and_the_order_as_key(published: Published) -> None:
    published.flow(TOPICS.ORDER_CREATED, ORDER_DATA)

    followed = [(topic, fields) for topic, _, fields in published.events.values()][1:]
    assert {fields["correlation_id"] for _, fields in followed} == {"req-1"}
    assert {fields["user_id"] for _, fields in followed} == {"user-1"}
    keys = {fields["key"] for topic, fields in followed if topic != TOPICS.INVENTORY_UPDATED}
    assert keys == {"order-17"}


def test_a_handler_that_runs_again_publishes_the_same_ids(published: Published) -> None:
    published.flow(TOPICS.ORDER_CREATED, ORDER_DATA)
    before = set(published.events)

    published.flow(TOPICS.ORDER_CREATED, ORDER_DATA)

    assert set(published.events) == before
    cause = Metadata("event-1", "order.created", "")
    ids = {follow_up_id(cause, topic, step) for topic in ("a", "b") for step in ("", "1")}
    assert len(ids) == 4


def test_keys_and_labels_of_follow_ups_are_short_enough_to_be_published(published: Published) -> None:
    published.publish("x", {}, event_id="x")
    metadata = Metadata("e" * 128, TOPICS.ORDER_CREATED, "", correlation_id="c" * 500, user_id="u" * 500)

    for group in (INVENTORY, PAYMENT):
        run(registry.for_group(group)[TOPICS.ORDER_CREATED], {"orderId": "ö" * 3000}, metadata)

    for _, _, fields in list(published.events.values())[1:]:
        assert len(fields["key"].encode()) <= 1024
        assert len(fields["correlation_id"]) <= 200
        assert len(fields["user_id"]) <= 200


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (PublishInFlightError("event-2"), BrokerUnavailableError),
        (InvalidEventError("data", "too large"), PermanentError),
    ],
)
def test_a_follow_up_that_cant_be_published_costs_no_attempt_unless_it_never_can_be(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception]
) -> None:
    def publish(*args: Any, **fields: Any) -> None:
        raise raised

    monkeypatch.setattr(bus, "publish", publish)

    with pytest.raises(expected):
        run(registry.for_group(INVENTORY)[TOPICS.ORDER_CREATED], ORDER_DATA, Metadata("event-1", "order.created", ""))
