"""What this process sees of Kafka, Redis and the workers, looked at beside the pages.

A page must not wait for what is away. So each of them is looked at on a thread of its own, at most once a second while
somebody wants to know, and a page gets what was seen last, with its age.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from bus.errors import ConfigurationError
from bus.ledger import Ledger, fitness
from bus.presence import Presence, WorkerPresence
from eventconsole.api import probes

T = TypeVar("T")

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 0.4
KNOWN_SECONDS = 2.0
LOST_SECONDS = 4.0
FITNESS_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """What was seen last, at `at` (seconds since 1970; None: never), and what is wrong now.

    `away_since` is when a look first failed, None while all is well.
    """

    value: T | None
    at: float | None
    error: str = ""
    away_since: float | None = None

    @property
    def is_away(self) -> bool:
        """Whether the last look failed."""
        return bool(self.error)


class Sight(Generic[T]):
    """Looks at one thing. `look` raises when it is away, and may hang: then one thread hangs, never two."""

    def __init__(
        self,
        name: str,
        look: Callable[[], T],
        *,
        fresh: float = FRESH_SECONDS,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._look = look
        self._fresh = fresh
        self._patience = patience
        self._clock = clock
        # A wall clock that is set back would make what was seen fresh for as long.
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._running: Future[None] | None = None
        self._began = float("-inf")
        self._told_at = float("-inf")
        self._seen: Seen[T] = Seen(None, None)

    def see(self) -> Seen[T]:
        """What is seen; waits a moment for a look that runs, and no longer."""
        running = self._start()
        if running is not None and not running.done():
            # What was told a moment ago will do, and a look that hangs isn't waited for by each page anew.
            waited = self._monotonic() - self._began
            is_known = self._monotonic() - self._told_at < KNOWN_SECONDS
            try:
                running.result(0 if is_known else max(0.0, self._patience - waited))
            except TimeoutError:
                self._hangs()
        return self._seen

    def _start(self) -> Future[None] | None:
        with self._lock:
            is_over = self._running is None or self._running.done()
            if is_over and self._monotonic() - self._began >= self._fresh:
                self._began = self._monotonic()
                self._running = Future()
                name = f"sight-{self._name}"
                threading.Thread(target=self._run, args=(self._running,), name=name, daemon=True).start()
            return self._running

    def _run(self, running: Future[None]) -> None:
        try:
            self._seen = Seen(self._look(), self._clock())
            self._told_at = self._monotonic()
        except Exception as error:  # whatever it is, it is told to people
            self._fail(" ".join(str(error).split())[:300] or type(error).__name__)
        finally:
            running.set_result(None)

    def _hangs(self) -> None:
        waited = self._monotonic() - self._began
        if waited > LOST_SECONDS or (self._seen.at is None and waited >= self._patience):
            self._fail("it gives no answer")

    def _fail(self, error: str) -> None:
        before = self._seen
        since = before.away_since if before.away_since is not None else self._clock()
        self._seen = Seen(before.value, before.at, error, since)
        self._told_at = self._monotonic()


@dataclass(frozen=True, slots=True)
class RedisSeen:
    """Workers that were heard of within the hour, and how quickly Redis answered (seconds)."""

    workers: tuple[WorkerPresence, ...]
    latency: float


@cache
def _ledger() -> Ledger:
    return Ledger()


def _look_at_kafka() -> float:
    finding = next(probe for probe in probes.dependencies() if probe.name == "kafka").find_here()
    if not finding.is_up:
        raise ConnectionError(finding.error or "it gives no answer")
    return finding.latency or 0.0


def _look_at_redis() -> RedisSeen:
    presence = Presence(_ledger())
    began = time.monotonic()
    workers = presence.all()
    return RedisSeen(tuple(workers), time.monotonic() - began)


def _look_at_fitness() -> tuple[str, ...]:
    ledger = _ledger()
    try:
        return tuple(fitness.problems(ledger.client, ledger.settings.redis_cluster))
    except ConfigurationError as error:
        return (str(error),)


#: Its value is how long Kafka took to answer, in seconds.
kafka: Sight[float] = Sight("kafka", _look_at_kafka)
redis: Sight[RedisSeen] = Sight("redis", _look_at_redis)
#: What makes this Redis unfit to hold the ledger, one sentence each.
redis_fitness: Sight[tuple[str, ...]] = Sight("redis-fitness", _look_at_fitness, fresh=FITNESS_SECONDS)
