"""Jobs on handler threads and on the event loop: whatever a handler does, its job comes back with outcomes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections

from bus.consumer import executor as executor_module
from bus.consumer import pool as pool_module
from bus.consumer.executor import Executor, Outcome, Result
from bus.consumer.lanes import Lanes
from bus.consumer.pool import Job, Pool
from bus.consumer.work import Decoder, Work
from bus.deadletters import Reason
from bus.errors import PublishUnknownError
from bus.handlers import Handler
from tests.unit.dispatch_stage import GROUP, P0, TOPIC, Message, value_of


class Jobs:
    """Runs events through a pool of one thread."""

    def __init__(self) -> None:
        self.pool = Pool(1)
        self.done: dict[int, threading.Event] = {}

    def run(self, function: Callable[..., Any], *names: str, exactly_once: bool = False) -> list[Outcome]:
        """The outcomes of one job with these events; fails when the job doesn't come back."""
        job = self.job(function, *names, exactly_once=exactly_once)
        self.pool.submit([job])
        assert self.done[id(job)].wait(10), "the job got lost"
        return job.outcomes

    def job(self, function: Callable[..., Any], *names: str, exactly_once: bool = False) -> Job:
        handler = Handler(GROUP, (TOPIC,), function, delays=(1.0,), exactly_once=exactly_once)
        decoder = Decoder(GROUP, {TOPIC: handler})
        decoder._models.clear()
        works = [decoder.decode(Message(P0, at, b"k", value_of(name)), P0) for at, name in enumerate(names or ("a",))]
        lanes = Lanes[Work]()
        lanes.add(works)
        (run,) = lanes.take(100, 0.0)
        finished = threading.Event()
        job = Job(run, run.works, [], Executor(GROUP, "worker", 2), lambda _: finished.set())
        self.done[id(job)] = finished
        return job


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


def fine(data: Any, metadata: Any) -> None: ...


class Unprintable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise SystemExit(1)


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), MemoryError(), Unprintable(), GeneratorExit()])
def test_whatever_a_handler_raises_counts_as_its_failure(jobs: Jobs, error: BaseException) -> None:
    def handler(data: Any, metadata: Any) -> None:
        raise error

    assert [each.result for each in jobs.run(handler)] == [Result.RETRY]
    assert [each.result for each in jobs.run(fine)] == [Result.HANDLED]


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError(), Unprintable()])
def test_whatever_an_async_handler_raises_counts_as_its_failure(jobs: Jobs, error: BaseException) -> None:
    async def handler(data: Any, metadata: Any) -> None:
        await asyncio.sleep(0)
        raise error

    assert [each.result for each in jobs.run(handler)] == [Result.RETRY]


@pytest.mark.expects_errors("event_loop_broken")
def test_a_task_that_exits_does_not_end_the_event_loop(jobs: Jobs) -> None:
    async def leave() -> None:
        raise SystemExit(1)

    async def handler(data: Any, metadata: Any) -> None:
        task = asyncio.create_task(leave())
        await asyncio.wait([task])
        assert isinstance(task.exception(), SystemExit)

    async def another(data: Any, metadata: Any) -> None:
        await asyncio.sleep(0)

    assert [each.result for each in jobs.run(handler)] == [Result.HANDLED]
    assert [each.result for each in jobs.run(another)] == [Result.HANDLED]


@pytest.mark.expects_errors("run_broken")
def test_a_failure_that_cannot_be_judged_brings_its_job_back(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def at_a_loss(error: BaseException) -> bool:
        raise RuntimeError("no idea")

    def handler(data: Any, metadata: Any) -> None:
        raise ValueError

    monkeypatch.setattr(executor_module, "_is_outage", at_a_loss)

    assert [each.result for each in jobs.run(handler)] == [Result.RETRY]
    assert [each.result for each in jobs.run(handler, exactly_once=True)] == [Result.OUTAGE]


def test_a_connection_that_cannot_be_closed_costs_no_job(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(pool_module, "_CLEAN_UP_EVERY_SECONDS", -1.0)
    monkeypatch.setattr(pool_module, "close_old_connections", broken)

    assert [each.result for each in jobs.run(fine)] == [Result.HANDLED]


def test_publishing_without_an_answer_is_an_outage_and_no_failure(jobs: Jobs) -> None:
    def handler(data: Any, metadata: Any) -> None:
        raise PublishUnknownError("e", "no answer")

    assert [each.result for each in jobs.run(handler)] == [Result.OUTAGE]


def test_a_function_that_only_returns_a_coroutine_has_handled_nothing(jobs: Jobs) -> None:
    async def inner() -> None: ...

    def handler(data: Any, metadata: Any) -> Any:
        return inner()

    (outcome,) = jobs.run(handler)

    assert (outcome.result, outcome.reason) == (Result.DEAD, Reason.PERMANENT)
    assert "async def" in str(outcome.error)


@pytest.mark.django_db(transaction=True)
def test_a_broken_connection_of_async_handlers_is_closed(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    closed_on: list[str] = []
    monkeypatch.setattr(executor_module, "_close_broken_connections", lambda: closed_on.append(name_of_thread()))
    query_threads: list[str] = []

    def query() -> None:
        query_threads.append(name_of_thread())
        connections["default"].ensure_connection()
        connections["default"].close()
        raise OperationalError("the connection is closed")

    async def handler(data: Any, metadata: Any) -> None:
        await sync_to_async(query)()

    assert [each.result for each in jobs.run(handler)] == [Result.RETRY]
    assert closed_on == query_threads


def name_of_thread() -> str:
    return threading.current_thread().name


def test_what_is_taken_back_from_a_job_is_not_run(jobs: Jobs) -> None:
    began, go_on, seen = threading.Event(), threading.Event(), []

    def handler(data: Any, metadata: Any) -> None:
        seen.append(metadata.event_id)
        began.set()
        go_on.wait(10)

    job = jobs.job(handler, "a", "b", "c")
    jobs.pool.submit([job])
    assert began.wait(10)

    rest = job.take_back()
    go_on.set()

    assert jobs.done[id(job)].wait(10)
    assert [work.event_id for work in rest] == ["b", "c"]
    assert seen == ["a"]
    assert len(job.works) == len(job.outcomes) == 1
