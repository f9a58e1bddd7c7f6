"""Runs the tasks while this process leads, and outlives Kafka, Redis and the database."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from django.db import DatabaseError, InterfaceError, connections

from bus.errors import BusError, UnavailableError
from bus.monitor.leadership import Leadership
from bus.monitor.tasks import Task

log = logging.getLogger("bus.monitor")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
STOP_SECONDS = 5.0
_AWAY = (UnavailableError, DatabaseError, InterfaceError)


class Monitor:
    """One process of `run_monitor`."""

    def __init__(
        self, leadership: Leadership, tasks: Sequence[Task], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._leadership = leadership
        self._tasks = tasks
        self._clock = clock
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Finish what runs, and let another process lead. May be called from a signal handler, more than once."""
        self._stopping.set()

    def run(self) -> None:
        """Lead or stand by until `stop`."""
        log.info("monitor_started", extra={"worker": self._leadership.owner})
        # They end with the process at the latest: what they write is one transaction at a time.
        threads = [
            threading.Thread(target=self._run_task, args=(task,), name=f"bus-monitor-{task.name}", daemon=True)
            for task in self._tasks
        ]
        for thread in threads:
            thread.start()
        led: bool | None = None
        while not self._stopping.is_set():
            leads = self._hold()
            if leads != led:
                log.info("monitor_leads" if leads else "monitor_stands_by", extra={"worker": self._leadership.owner})
            led = leads
            self._stopping.wait(self._leadership.seconds / 3 if led else min(1.0, self._leadership.seconds / 3))
        deadline = self._clock() + STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - self._clock()))
        self._give_back()
        connections.close_all()
        log.info("monitor_stopped", extra={"worker": self._leadership.owner})

    def _hold(self) -> bool:
        try:
            return self._leadership.hold()
        except (DatabaseError, InterfaceError) as error:
            log.warning("database_away the monitor waits: %s", error)
            connections.close_all()
            return self._leadership.is_held

    def _give_back(self) -> None:
        try:
            self._leadership.give_back()
        except (DatabaseError, InterfaceError):
            log.debug("lease_not_given_back")  # it lapses by itself

    def _run_task(self, task: Task) -> None:
        pause, is_open = FIRST_PAUSE, False
        while not self._stopping.is_set():
            if not self._leadership.is_held:
                if is_open:
                    _close(task)
                    is_open = False
                self._stopping.wait(0.2)
                continue
            is_open = True
            try:
                rest = task.step()
                pause = FIRST_PAUSE
            except Exception as error:  # one broken task must not end the others
                _report(task, error, pause)
                # A connection that failed stays so; the next step opens another one.
                connections.close_all()
                rest, pause = pause, min(pause * 2, LONGEST_PAUSE)
            self._stopping.wait(rest)
        _close(task)
        connections.close_all()


def _report(task: Task, error: Exception, pause: float) -> None:
    if isinstance(error, _AWAY):
        log.warning("task_waits %s is tried again in %g s: %s", task.name, pause, error)
    elif isinstance(error, BusError):
        log.info("task_repeats %s: %s", task.name, error)
    else:
        log.error("task_failed %s is tried again in %g s", task.name, pause, exc_info=error)


def _close(task: Task) -> None:
    try:
        task.close()
    except Exception as error:  # it ends all the same
        log.warning("task_not_closed %s: %s", task.name, error)
