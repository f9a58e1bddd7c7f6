"""Who leads, and what a monitor does with its tasks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connections

from bus.errors import BrokerUnavailableError
from bus.models import Lease
from bus.monitor.leadership import Leadership
from bus.monitor.monitor import Monitor
from bus.monitor.tasks import Task
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class Clock:
    """A wall clock and a monotonic one that move together."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 24, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def candidate(clock: Clock) -> Callable[[str], Leadership]:
    return lambda owner: Leadership("monitor", owner, 10.0, now=clock.now, clock=clock.monotonic)


def test_one_leads_and_the_other_stands_by(candidate: Callable[[str], Leadership], clock: Clock) -> None:
    one, two = candidate("one"), candidate("two")

    assert (one.hold(), two.hold()) == (True, False)
    clock.seconds = 9
    assert (one.hold(), two.hold()) == (True, False)
    clock.seconds = 18
    assert (two.hold(), one.is_held) == (False, True)


def test_a_silent_leader_is_replaced_and_knows_it(candidate: Callable[[str], Leadership], clock: Clock) -> None:
    one, two = candidate("one"), candidate("two")
    one.hold()
    clock.seconds = 10.1

    assert not one.is_held
    assert two.hold()
    assert not one.hold()
    assert Lease.objects.get().number == 2


def test_a_lease_that_is_given_back_is_free_at_once(candidate: Callable[[str], Leadership]) -> None:
    one, two = candidate("one"), candidate("two")
    one.hold()
    two.give_back()
    assert not two.hold()

    one.give_back()

    assert not one.is_held
    assert two.hold()


class Counting:
    """A task that counts its steps, and fails as told."""

    def __init__(self, name: str, *errors: Exception) -> None:
        self.name = name
        self.errors = list(errors)
        self.steps = 0
        self.closed = 0

    def step(self) -> float:
        self.steps += 1
        if self.errors:
            raise self.errors.pop(0)
        return 0.01

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def run_monitor() -> Iterator[Callable[..., Monitor]]:
    """Runs a monitor on a thread until the end of the test."""
    with ExitStack() as cleanup:

        def run(owner: str, *tasks: Task, seconds: float = 1.0) -> Monitor:
            monitor = Monitor(Leadership("monitor", owner, seconds), tasks)

            def run_it() -> None:
                monitor.run()
                connections.close_all()

            thread = threading.Thread(target=run_it)
            thread.start()
            cleanup.callback(thread.join, 10)
            cleanup.callback(monitor.stop)
            return monitor

        yield run


def test_only_the_leader_works_and_the_next_one_takes_over(run_monitor: Callable[..., Monitor]) -> None:
    first, second = Counting("first"), Counting("second")
    leader = run_monitor("one", first)
    wait_until(lambda: first.steps > 2, 10, "steps of the leader")
    run_monitor("two", second)
    time.sleep(1.2)
    assert second.steps == 0

    leader.stop()

    wait_until(lambda: second.steps > 2, 10, "steps of the second")
    assert first.closed == 1


@pytest.mark.expects_errors("task_failed broken")
def test_a_task_that_fails_is_tried_again_and_holds_up_no_other(run_monitor: Callable[..., Monitor]) -> None:
    broken = Counting("broken", ValueError("a bug"), BrokerUnavailableError("away"), OperationalError("locked"))
    sound = Counting("sound")
    run_monitor("one", broken, sound)

    wait_until(lambda: broken.steps > 3, 15, "steps after the errors")
    assert sound.steps > 20


def test_a_monitor_that_lost_its_lease_stops_working(run_monitor: Callable[..., Monitor]) -> None:
    task = Counting("task")
    run_monitor("one", task)
    wait_until(lambda: task.steps > 2, 10, "steps of the leader")

    Lease.objects.update(owner="another", expires_at=datetime.now(UTC) + timedelta(hours=1))

    wait_until(lambda: task.closed == 1, 10, "the end of its work")
    steps = task.steps
    time.sleep(0.5)
    assert task.steps == steps
