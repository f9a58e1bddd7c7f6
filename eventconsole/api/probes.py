"""Whether Kafka, Redis and the database answer, without ever waiting long for one that doesn't."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache

from django.db import connection

from bus.kafka.admin import Admin
from bus.ledger import Ledger

#: Health answers within 2 s, so a probe may take less.
PROBE_SECONDS = 1.5
#: An answer is good for this long: whoever asks often, and anybody may, asks the dependencies once a second.
FRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found. `latency` in seconds, None when there was no answer."""

    name: str
    is_up: bool
    latency: float | None
    error: str | None


class Probe:
    """Asks one dependency, on a thread of its own: a question that hangs leaves one thread behind, never two."""

    def __init__(
        self,
        name: str,
        check: Callable[[], object],
        *,
        is_needed: bool = False,
        timeout: float = PROBE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.is_needed = is_needed
        self._check = check
        self._timeout = timeout
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._running: Future[Finding] | None = None
        self._started_at = 0.0

    async def find(self) -> Finding:
        """Whether the dependency answers; takes `timeout` seconds at most, and no time while an old question hangs."""
        running, started_at = self._ask()
        left = started_at + self._timeout - self._monotonic()
        # Shielded: several callers wait for one question, and one that gives up must not end it for the others.
        waiting = asyncio.shield(asyncio.wrap_future(running))
        try:
            return await asyncio.wait_for(waiting, max(left, 0.001))
        except TimeoutError:
            waited = self._monotonic() - started_at
            return Finding(self.name, False, None, f"no answer for {waited:.1f} s")

    def find_here(self) -> Finding:
        """The same for a thread that may wait."""
        running, started_at = self._ask()
        try:
            return running.result(max(started_at + self._timeout - self._monotonic(), 0.001))
        except TimeoutError:
            return Finding(self.name, False, None, f"no answer for {self._monotonic() - started_at:.1f} s")

    def _ask(self) -> tuple[Future[Finding], float]:
        with self._lock:
            running = self._running
            is_old = self._monotonic() - self._started_at > FRESH_SECONDS
            if running is None or (running.done() and is_old):
                running = self._running = Future()
                self._started_at = self._monotonic()
                # A daemon: a question that hangs must not keep the process from ending.
                name = f"probe-{self.name}"
                threading.Thread(target=self._run, args=(running, self._started_at), name=name, daemon=True).start()
            return running, self._started_at

    def _run(self, running: Future[Finding], started_at: float) -> None:
        try:
            self._check()
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            running.set_result(Finding(self.name, False, None, text[:300]))
        else:
            running.set_result(Finding(self.name, True, self._monotonic() - started_at, None))


async def find_all(probes: Sequence[Probe]) -> list[Finding]:
    """Every probe's finding, asked at the same time."""
    return await asyncio.gather(*(probe.find() for probe in probes))


def status_of(probes: Sequence[Probe], findings: Sequence[Finding]) -> str:
    """ok, degraded (something is away without which events can still be published) or down."""
    if any(probe.is_needed and not finding.is_up for probe, finding in zip(probes, findings, strict=True)):
        return "down"
    return "ok" if all(finding.is_up for finding in findings) else "degraded"


def _ask_database() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


def find_dependencies() -> list[Probe]:
    """Probes for what the service leans on.

    Only Kafka is needed: without Redis events are published and deduplicated later, without the database tokens are
    good from memory for a minute.
    """
    # The clients are made by the first question, on its thread: that of a Redis Cluster connects while it is made.
    admin = cache(Admin)
    ledger = cache(Ledger)
    return [
        Probe("kafka", lambda: admin().ping(timeout=PROBE_SECONDS), is_needed=True),
        Probe("redis", lambda: ledger().ping()),
        Probe("database", _ask_database),
    ]


@cache
def dependencies() -> list[Probe]:
    """The probes of this process."""
    return find_dependencies()
