"""Whether an event was published, and whether it was handled, asked of the ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import bus
from bus import catalog, conf, handlers
from bus.errors import LedgerUnavailableError
from bus.handlers import Handler
from bus.ledger import Claim, Ledger, PublishRecord, Settlement, Status
from tests.redis_server import RedisAddress

TOPIC = "order.created"


@pytest.fixture
def ledger(any_redis: RedisAddress, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """The ledger of a process in which two groups handle order.created and a third something else."""
    monkeypatch.setattr(handlers, "registry", handlers.Registry())
    monkeypatch.setattr(catalog, "_groups", catalog.groups())
    for group, topic in (("billing", TOPIC), ("shipping", TOPIC), ("audit", "user.deleted")):
        catalog.add_group(group, "A group of a test")
        handlers.registry.add(Handler(group, (topic,), lambda data, metadata: None))
    with conf.override(redis_url_given=any_redis.url, redis_cluster=any_redis.cluster, redis_prefix="test"):
        yield Ledger()


class Worker:
    """Settles events in the ledger as a consumer does."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.number = 0

    def settle(self, group: str, outcome: Status | None, generation: int = 0, event_id: str = "mine") -> None:
        self.number += 1
        self.ledger.exchange("w", self.number, [], [Claim(event_id, group, TOPIC, generation)])
        if outcome is not None:
            self.ledger.exchange(
                "w", self.number + 1, [Settlement(event_id, group, TOPIC, generation, self.number, outcome, 1)], []
            )
            self.number += 1


def test_an_event_is_processed_when_every_group_with_a_handler_has_handled_it(ledger: Ledger) -> None:
    worker = Worker(ledger)
    assert not bus.is_event_published("mine")
    ledger.confirm_publish([("mine", PublishRecord(TOPIC, 1, 2, 3, "web"), None)])
    assert bus.is_event_published("mine")
    assert not bus.is_event_processed("mine")
    worker.settle("billing", Status.PROCESSED)
    worker.settle("shipping", None)
    assert not bus.is_event_processed("mine")
    assert bus.is_event_processed("mine", "billing")
    assert not bus.is_event_processed("mine", "shipping")
    worker.settle("shipping", Status.PROCESSED)
    assert bus.is_event_processed("mine")
    assert not bus.is_event_processed("mine", "audit")


def test_a_dead_letter_is_not_processed_until_its_replay_is(ledger: Ledger) -> None:
    worker = Worker(ledger)
    ledger.confirm_publish([("mine", PublishRecord(TOPIC, 1, 2, 3, "web"), None)])
    worker.settle("shipping", Status.PROCESSED)
    worker.settle("billing", Status.FAILED)
    assert not bus.is_event_processed("mine")
    worker.settle("billing", Status.PROCESSED, generation=1)
    assert bus.is_event_processed("mine")
    worker.settle("shipping", None, generation=1)
    assert not bus.is_event_processed("mine"), "the latest generation runs"


def test_an_event_of_a_foreign_producer_is_known_by_the_groups_that_took_it(ledger: Ledger) -> None:
    worker = Worker(ledger)
    worker.settle("billing", Status.PROCESSED)
    assert bus.is_event_published("mine")
    assert not bus.is_event_processed("mine")
    worker.settle("shipping", Status.PROCESSED)
    assert bus.is_event_processed("mine")


def test_an_event_that_nobody_handles_is_never_processed(ledger: Ledger) -> None:
    ledger.confirm_publish([("mine", PublishRecord("cart.updated", 1, 2, 3, "web"), None)])
    assert not bus.is_event_processed("mine")


async def test_the_questions_can_be_asked_by_coroutines(ledger: Ledger) -> None:
    worker = Worker(ledger)
    worker.settle("billing", Status.PROCESSED)
    status = await bus.aevent_status("mine")
    assert status is not None
    assert [each.group for each in status.groups] == ["billing"]
    assert await bus.ais_event_published("mine")
    assert await bus.ais_event_processed("mine", "billing")
    assert not await bus.ais_event_processed("mine")
    assert await bus.aevent_status("unknown") is None


def test_without_redis_the_questions_raise() -> None:
    with conf.override(redis_url_given="redis://127.0.0.1:1/0"):
        for question in (bus.is_event_published, bus.is_event_processed, bus.event_status):
            with pytest.raises(LedgerUnavailableError):
                question("mine")
