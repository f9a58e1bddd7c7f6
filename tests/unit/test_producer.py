"""The producer's own logic, with records and a ledger that do what the test says."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bus.errors import (
    BrokerUnavailableError,
    PublishInFlightError,
    PublishRefusedError,
    PublishUnknownError,
    UnknownTopicError,
)
from bus.ledger import PublishRecord
from bus.producer import Published, PublishFailure
from tests.processes import wait_until
from tests.unit.producer_bench import Bench
from tests.worker.process import ROOT

TOPIC = "order.created"


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_success_is_reported_after_the_acknowledgement_and_the_ledger(bench: Bench) -> None:
    publishing = bench.start(bench.producer.publish, TOPIC, {})
    bench.records.after_poll()
    assert not publishing.done()
    done_before_confirmed: list[bool] = []
    bench.ledger.on_confirm = lambda: done_before_confirmed.append(publishing.done())
    bench.records.poll()
    published = publishing.result(5)
    assert done_before_confirmed == [False]
    assert published == Published(published.event_id, TOPIC, 1, 0)
    assert bench.ledger.records[published.event_id][:3] == (TOPIC, 1, 0)


def test_acknowledgements_of_many_callers_are_noted_with_one_call(bench: Bench) -> None:
    publishing = [bench.start(bench.producer.publish, TOPIC, {}, correlation_id=f"c-{n}", sent=n + 1) for n in range(4)]
    batch = bench.start(bench.producer.publish_batch, TOPIC, [{"data": {}}] * 3, sent=7)
    bench.records.poll()
    assert len({each.result(5).event_id for each in publishing}) == 4
    assert len(batch.result(5)) == 3
    [notes] = bench.ledger.confirmed
    assert [correlation for _, _, correlation in notes] == ["c-0", "c-1", "c-2", "c-3", None, None, None]


def test_only_ids_that_a_caller_gave_are_claimed_and_in_one_call(bench: Bench) -> None:
    fresh = bench.start(bench.producer.publish, TOPIC, {})
    assert bench.ledger.calls == 0
    given = bench.start(
        bench.producer.publish_batch, TOPIC, [{"data": {}, "event_id": f"e-{n}"} for n in range(10)], sent=11
    )
    assert bench.ledger.calls == 1
    assert bench.ledger.claims.keys() == {f"e-{n}" for n in range(10)}
    bench.records.poll()
    fresh.result(5)
    given.result(5)


@pytest.mark.parametrize(("answer", "error"), [("refused", PublishRefusedError), ("no answer", PublishUnknownError)])
def test_a_failed_event_gives_its_id_free_before_its_caller_is_told(
    bench: Bench, answer: str, error: type[Exception]
) -> None:
    publishing = bench.start(bench.producer.publish, TOPIC, {}, event_id="mine")
    bench.records.poll(answer)
    with pytest.raises(error, match=answer) as caught:
        publishing.result(5)
    assert getattr(caught.value, "event_id", None) == "mine"
    assert bench.ledger.claims == {}
    assert bench.ledger.records == {}


def test_after_a_time_out_the_id_is_free_and_a_late_acknowledgement_is_noted(bench: Bench) -> None:
    publishing = bench.start(bench.producer.publish, TOPIC, {}, event_id="mine", timeout=0.05)
    with pytest.raises(PublishUnknownError, match="unknown"):
        publishing.result(5)
    assert bench.ledger.claims == {}
    bench.records.poll()
    assert bench.producer.publish(TOPIC, {}, event_id="mine") == Published("mine", TOPIC, 1, 0, duplicate=True)


def test_an_acknowledged_event_is_a_success_even_if_noting_it_takes_too_long(bench: Bench) -> None:
    bench.ledger.on_confirm = lambda: time.sleep(0.5)
    publishing = bench.start(bench.producer.publish, TOPIC, {}, timeout=0.2)
    bench.records.poll()
    assert publishing.result(5).offset == 0


def test_an_id_that_somebody_else_publishes_just_now_is_in_flight(bench: Bench) -> None:
    first = bench.start(bench.producer.publish, TOPIC, {}, event_id="mine")
    with pytest.raises(PublishInFlightError):
        bench.producer.publish(TOPIC, {}, event_id="mine")
    bench.records.poll()
    first.result(5)


def test_copies_in_a_batch_share_the_outcome_of_the_first(bench: Bench) -> None:
    events = [
        {"data": float("nan"), "event_id": "mine"},
        {"data": {"n": 1}, "event_id": "mine"},
        {"data": {"n": 2}},
        {"data": {"n": 3}, "event_id": "mine"},
    ]
    publishing = bench.start(bench.producer.publish_batch, TOPIC, events, sent=2)
    bench.records.poll()
    invalid, first, other, copy = publishing.result(5)
    assert isinstance(invalid, PublishFailure)
    assert (first.offset, first.duplicate, other.offset) == (0, False, 1)
    assert copy == first._replace(duplicate=True)

    again = bench.start(bench.producer.publish_batch, TOPIC, [{"data": {}, "event_id": "next"}] * 2)
    bench.records.poll("refused")
    failures = again.result(5)
    assert failures[0] == failures[1]
    assert isinstance(failures[1].error, PublishRefusedError)


def test_events_before_and_after_the_first_given_id_keep_their_places(bench: Bench) -> None:
    events: list[dict[str, Any]] = [{"data": {"n": n}} for n in range(900)]
    events[450]["event_id"] = events[800]["event_id"] = "mine"
    events[700]["event_id"] = "known"
    bench.ledger.records["known"] = PublishRecord(TOPIC, 3, 33, 0, "web")
    publishing = bench.start(bench.producer.publish_batch, TOPIC, events, sent=898)
    assert bench.ledger.calls == 1
    sent = [each.record for each in bench.records.sent]
    ids = [dict(each.headers)["event-id"] for each in sent]
    bench.records.poll()
    outcomes = publishing.result(5)
    assert outcomes[700] == Published("known", TOPIC, 3, 33, duplicate=True)
    assert outcomes[800] == outcomes[450]._replace(duplicate=True)
    unsent = (700, 800)
    expected = [(n, outcomes[n].event_id.encode()) for n in range(900) if n not in unsent]
    assert [each for _, each in expected] == ids
    assert [b'"n":%d}' % n in (each.value or b"") for (n, _), each in zip(expected, sent, strict=True)] == [True] * 898
    assert [outcomes[n].offset for n, _ in expected] == list(range(898))


def test_a_full_queue_is_waited_for_and_then_fails_the_rest(bench: Bench) -> None:
    bench.records.room = 3
    events = [{"data": {}, "event_id": f"e-{n}"} for n in range(5)]
    publishing = bench.start(bench.producer.publish_batch, TOPIC, events, timeout=0.5, sent=3)
    bench.records.poll(count=1)
    wait_until(lambda: len(bench.records.sent) == 3, 5, "the fourth event")
    outcomes = publishing.result(5)
    assert [type(each) for each in outcomes] == [Published] + [PublishFailure] * 4
    assert [type(each.error) for each in outcomes[1:]] == [PublishUnknownError] * 3 + [BrokerUnavailableError]
    assert bench.ledger.claims == {}


async def test_a_full_queue_does_not_block_the_event_loop(bench: Bench) -> None:
    bench.records.room = 0
    publishing = asyncio.create_task(bench.producer.apublish_batch(TOPIC, [{"data": {}}] * 2))
    await asyncio.sleep(0.05)
    assert not publishing.done()
    bench.records.room = 10
    await asyncio.to_thread(wait_until, lambda: len(bench.records.sent) > 0, 5, "records to be sent")
    bench.records.poll()
    assert all(isinstance(each, Published) for each in await publishing)


async def test_a_cancelled_caller_leaves_no_claim_behind(bench: Bench) -> None:
    publishing = asyncio.create_task(bench.producer.apublish(TOPIC, {}, event_id="mine"))
    await asyncio.to_thread(wait_until, lambda: len(bench.records.sent) > 0, 5, "records to be sent")
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert bench.ledger.claims.keys() == {"mine"}
    bench.records.poll("no answer")
    assert bench.ledger.claims == {}


async def test_coroutines_time_out_and_fail_as_threads_do(bench: Bench) -> None:
    with pytest.raises(PublishUnknownError):
        await bench.producer.apublish(TOPIC, {}, event_id="mine", timeout=0.05)
    assert bench.ledger.claims == {}
    with pytest.raises(UnknownTopicError):
        await bench.producer.apublish("nowhere", {})


def test_a_broken_client_is_replaced(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.records.is_broken = True
    publishing = bench.start(bench.producer.publish, TOPIC, {})
    bench.records.poll()
    publishing.result(5)
    assert bench.records.opened == 2
    wait_until(lambda: bench.records.closed == [0], 5, "the broken client to be closed")
    assert "producer_replaced" in caplog.text


class TestWithoutTheLedger:
    """Redis doesn't answer."""

    @pytest.fixture
    def away(self, bench: Bench) -> Bench:
        bench.ledger.away = True
        bench.producer.bookkeeping._clock = lambda: bench.now
        return bench

    def publish(self, bench: Bench, **options: Any) -> Published:
        publishing = bench.start(bench.producer.publish, TOPIC, {}, **options)
        bench.records.poll()
        published = publishing.result(5)
        assert isinstance(published, Published)
        return published

    def test_publishing_goes_on_and_redis_is_left_alone_for_a_second(
        self, away: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "bus.producer")
        for _ in range(3):
            assert not self.publish(away, event_id="mine").duplicate
        assert away.ledger.calls == 1
        away.now += 1.1
        self.publish(away)
        assert away.ledger.calls == 2
        away.now += 1.1
        away.ledger.away = False
        self.publish(away)
        self.publish(away, event_id="mine")
        assert self.publish(away, event_id="mine").duplicate
        assert [line.split()[0] for line in caplog.messages] == ["ledger_unavailable", "ledger_available"]
        # Three claims and three notes, and the note of the fourth event.
        assert "7 claims and notes" in caplog.messages[1]

    def test_a_redis_that_hangs_gets_a_fifth_of_the_time(self, away: Bench) -> None:
        def hang() -> float:
            away.now += 2.0 if away.ledger.calls == 1 and away.now < 1001 else 0.0
            return away.now

        away.producer.bookkeeping._clock = hang
        self.publish(away)
        assert away.ledger.calls == 1
        away.now += 7.0
        self.publish(away)
        assert away.ledger.calls == 1
        away.now += 1.5
        self.publish(away)
        assert away.ledger.calls == 2

    def test_one_caller_tries_redis_again_while_the_others_go_on(self, away: Bench) -> None:
        self.publish(away)
        away.now += 1.1
        others: list[object] = []

        def ask_meanwhile(*arguments: object) -> list[None]:
            others.append(away.producer.bookkeeping.claim(TOPIC, ["other"], "token"))
            return [None]

        away.ledger.claim_publish = ask_meanwhile  # type: ignore[assignment, method-assign]
        away.producer.bookkeeping.claim(TOPIC, ["mine"], "token")
        assert others == [None]

    def test_an_unexpected_error_of_the_ledger_still_tells_the_callers(self, bench: Bench) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        bench.ledger.on_confirm = fail
        publishing = bench.start(bench.producer.publish, TOPIC, {})
        with pytest.raises(ZeroDivisionError):
            bench.records.poll()
        assert publishing.result(5).offset == 0


def test_importing_the_bus_imports_neither_models_nor_clients() -> None:
    code = (
        "import sys, bus; from bus import handler, PermanentError; bus.publish;"
        "import bus; print(sorted({'django.db', 'bus.models'} & set(sys.modules)))"
    )
    only_import = (
        "import sys, bus; print(sorted({'confluent_kafka', 'redis', 'bus.conf', 'django'} & set(sys.modules)))"
    )
    for each in (code, only_import):
        told = subprocess.run([sys.executable, "-c", each], cwd=ROOT, capture_output=True, text=True, check=True)
        assert told.stdout.strip() == "[]"


def test_everything_the_bus_offers_is_there() -> None:
    import bus

    assert all(getattr(bus, name) is not None for name in bus.__all__)
    assert set(bus.__all__) <= set(dir(bus))
    with pytest.raises(AttributeError, match="publsh"):
        _ = bus.publsh
