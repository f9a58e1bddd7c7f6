"""A worker: one process that consumes for one or several groups.

The groups share the handler threads, the Redis client and the Kafka producer; each has a poll thread, a dispatcher, a
Kafka consumer and a lease of its own.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from bus import conf, presence
from bus.activity import ActivityLog
from bus.consumer.burial import Sender
from bus.consumer.dispatcher import Dispatcher
from bus.consumer.pool import Pool
from bus.consumer.recorder import Recorder
from bus.consumer.runner import RecordSource, Runner
from bus.control.watch import Watch
from bus.errors import BrokerUnavailableError, BusError, ConfigurationError, EpochChangedError, LedgerUnavailableError
from bus.handlers import Handler, registry
from bus.kafka.consumer import RecordConsumer
from bus.ledger import Ledger
from bus.ledger.mirror import Pause, Steering
from bus.presence import GroupPresence, Presence, Wait, Why, WorkerPresence

log = logging.getLogger("bus.consumer")


def groups_to_run(names: Sequence[str], *, every: bool) -> dict[str, Mapping[str, Handler]]:
    """The handlers of the groups asked for. Raises ConfigurationError that names the known groups."""
    known = registry.groups()
    wanted = known if every else list(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        problem = f"no handlers are registered for {', '.join(unknown)}" if unknown else "no group is named"
        raise ConfigurationError(f"{problem}; groups with handlers are: {', '.join(known) or 'none at all'}")
    return {name: registry.for_group(name) for name in wanted}


def quiet_garbage_collector() -> None:
    """Make Python look for cycles less often; for a process that does nothing but consume.

    Thousands of decoded events are alive at any time, and a full look at all of them for every few hundred new ones
    took half of the worker's time. They hold no cycles and are freed without it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class Worker:
    """Runs groups until told to stop, or until one of them can't go on: then all stop, and `run` raises."""

    def __init__(
        self,
        groups: Mapping[str, Mapping[str, Handler]],
        *,
        sender: Sender,
        name: str | None = None,
        ledger: Ledger | None = None,
        settings: conf.BusSettings | None = None,
        open_source: Callable[[str, str], RecordSource] | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or conf.current()
        self.name = name or presence.new_worker_name()
        self.ledger = ledger or Ledger(settings=self.settings)
        self.pool = Pool(self.settings.concurrency)
        self.presence = Presence(self.ledger)
        self.activity = ActivityLog(self.ledger, self.name, wall_clock=wall_clock)
        self._watch_steering = Watch(self.ledger.mirror)
        self._steering = Steering()
        self._sender = sender
        self._wall_clock = wall_clock
        self._started_at = wall_clock()
        self._stopping = threading.Event()
        self._state = "running"
        open_source = open_source or (lambda group, worker: RecordConsumer(group, worker, self.settings))
        self.runners = [
            Runner(
                group,
                handlers,
                open_source(group, self.name),
                self._dispatcher(group),
                settings=self.settings,
            )
            for group, handlers in groups.items()
        ]

    def _dispatcher(self, group: str) -> Dispatcher:
        return Dispatcher(
            group,
            self.name,
            ledger=self.ledger,
            sender=self._sender,
            pool=self.pool,
            recorder=Recorder(group, self.name, self.activity, self._wall_clock),
            settings=self.settings,
            wall_clock=self._wall_clock,
        )

    def stop(self) -> None:
        """Finish what runs, commit, leave the groups. May be called from a signal handler, more than once."""
        self._state = "draining"
        self._stopping.set()

    def run(self) -> None:
        """Consume until `stop`.

        Raises ConfigurationError for a Redis that can't hold the ledger, and the first error that a group couldn't go
        on with.
        """
        self._look_at_redis()
        log.info("worker_started", extra={"worker": self.name, "groups": [each.group for each in self.runners]})
        self._bury_the_dead()
        errors: list[BaseException] = []
        if self._learn_steering():
            self._run_groups(errors)
        self.activity.close()
        self._say_goodbye()
        log.info("worker_stopped", extra={"worker": self.name})
        if errors:
            raise errors[0]

    def _run_groups(self, errors: list[BaseException]) -> None:
        threads = [
            threading.Thread(target=self._run_group, args=(each, errors), name=f"bus-poll-{each.group}")
            for each in self.runners
        ]
        for thread in threads:
            thread.start()
        steering = threading.Thread(
            target=self._watch_steering.follow,
            args=(self._stopping, self._steering, lambda found: self._obey(found, errors)),
            name="bus-steering",
            daemon=True,  # it may wait for Redis
        )
        steering.start()
        try:
            self._watch(errors)
        finally:
            # Also after an error: groups that nobody can stop any more would go on until the process is killed.
            for runner in self.runners:
                runner.stop()
            for thread in threads:
                thread.join()

    # -- steering ---------------------------------------------------------------------------------------------------

    def _learn_steering(self) -> bool:
        """Whether the groups may begin: the worker knows what is paused, and in which epoch each group is."""
        found = self._watch_steering.learn(self._stopping, self._say_alive)
        if found is None:
            return False
        self._steering = found
        for runner in self.runners:
            runner.dispatcher.enter_epoch(found.epoch(runner.group))
            _pause(runner, found.pause(runner.group))
        return True

    def _obey(self, found: Steering, errors: list[BaseException]) -> None:
        for runner in self.runners:
            began, now = self._steering.epoch(runner.group), found.epoch(runner.group)
            if now != began:
                # What is in hand is known to the ledger under the name of the old epoch.
                _pause(runner, Pause(whole=True))
                errors.append(EpochChangedError(runner.group, began, now))
                self.stop()
            elif (pause := found.pause(runner.group)) != runner.paused:
                _pause(runner, pause)

    # -- signs of life ----------------------------------------------------------------------------------------------

    def _watch(self, errors: list[BaseException]) -> None:
        next_burial = time.monotonic() + self.settings.lease_seconds / 2
        while not self._stopping.wait(self.settings.heartbeat_interval):
            self._say_alive()
            if self._sender.is_broken:
                errors.append(BrokerUnavailableError("Kafka's producer can't go on, and dead letters need it"))
                self.stop()
            if time.monotonic() >= next_burial:
                next_burial = time.monotonic() + self.settings.lease_seconds / 2
                self._bury_the_dead()
        self._say_alive()

    def _run_group(self, runner: Runner, errors: list[BaseException]) -> None:
        try:
            runner.run()
        except BaseException as error:
            # One broken group ends the process: a supervisor starts it anew, while a worker that lives on without a
            # group would look healthy and let its lag grow.
            errors.append(error)
            log.error("group_stopped", extra={"group": runner.group, "error": f"{type(error).__name__}: {error}"})
            self.stop()

    def _say_alive(self) -> None:
        try:
            self.presence.write(self.describe())
        except LedgerUnavailableError:
            log.debug("presence_not_written")  # the dispatchers report that Redis is away

    def _say_goodbye(self) -> None:
        try:
            self.presence.remove(self.name)
        except LedgerUnavailableError:
            log.debug("presence_not_removed")  # it is forgotten after an hour

    def _look_at_redis(self) -> None:
        try:
            for problem in self.ledger.problems():
                log.warning("redis_unfit %s", problem)
        except LedgerUnavailableError:
            log.debug("redis_not_looked_at")  # the dispatchers report that it is away, and wait

    def _bury_the_dead(self) -> None:
        try:
            for name in self.presence.bury_the_dead():
                log.warning("dead_worker_found its events are taken over now", extra={"worker": name})
        except BusError:
            log.debug("no_look_for_dead_workers")  # their leases lapse by themselves

    def describe(self) -> WorkerPresence:
        """This worker's entry, as of now."""
        return WorkerPresence(
            worker=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            boot=presence.process_table(),
            version=presence.code_version(),
            concurrency=self.settings.concurrency,
            started_at=self._started_at,
            seen_at=self._wall_clock(),
            state=self._state,
            groups=tuple(_describe_group(each, time.monotonic()) for each in self.runners),
        )


def _pause(runner: Runner, pause: Pause) -> None:
    if pause or runner.paused:
        what = "all of it" if pause.whole else ", ".join(sorted(pause.topics))
        log.info(f"group_paused {what}" if pause else "group_resumed", extra={"group": runner.group})
    runner.pause(pause)


def _describe_group(runner: Runner, now: float) -> GroupPresence:
    dispatcher = runner.dispatcher
    running = dispatcher.running()
    longest = min(running, key=lambda job: job.began, default=None)
    its_work = longest.current if longest else None
    assigned = {each: f"{each[0]}[{each[1]}]" for each in runner.assigned()}
    sights = {name: sight for each, sight in dispatcher.survey().items() if (name := assigned.get(each))}
    full = Wait(Why.WINDOW, "so many events are in hand that no more are read")
    waits = {name: full for each in runner.full() if (name := assigned.get(each))}
    waits |= {name: sight.wait for name, sight in sights.items() if sight.wait}
    pause = runner.paused
    paused = Wait(Why.PAUSED, "the group is paused" if pause.whole else "this topic of the group is paused")
    waits |= {name: paused for each, name in assigned.items() if pause.covers(each[0])}
    return GroupPresence(
        group=runner.group,
        partitions={name: dispatcher.held(each)[0] for each, name in assigned.items()},
        rate=round(dispatcher.pace.rate, 1),
        in_flight=len(running),
        oldest_seconds=round(now - longest.began, 1) if longest else 0.0,
        stuck=sum(job.reported_stuck for job in running),
        waits_for="redis" if dispatcher.is_ledger_away else "",
        oldest_event=its_work.event_id if its_work else "",
        oldest_topic=its_work.topic if its_work else "",
        oldest_ms={name: sight.oldest_ms for name, sight in sights.items() if sight.oldest_ms},
        waits=waits,
        paused=("",) if pause.whole else tuple(sorted(pause.topics)),
    )
