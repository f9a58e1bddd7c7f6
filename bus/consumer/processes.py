"""Several worker processes under one parent: fresh interpreters, because a Kafka client doesn't survive a fork."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from bus import conf, presence
from bus.embedded.tether import tethered
from bus.errors import LedgerUnavailableError
from bus.ledger import Ledger

log = logging.getLogger("bus.consumer")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_HEALTHY_SECONDS = 30.0


class _Child:
    """One worker process, started again whenever it dies."""

    def __init__(self, arguments: Sequence[str], groups: Sequence[str]) -> None:
        self._arguments = arguments
        self._groups = groups
        self._pause = _FIRST_PAUSE
        self.start_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None
        self.name = ""

    def start(self) -> None:
        self.name = presence.new_worker_name()
        self.started = time.monotonic()
        # A parent that is killed takes its workers along, instead of leaving them to nobody's care.
        self.process = subprocess.Popen(tethered([*self._arguments, "--full-name", self.name]))

    def bury(self, ledger: Ledger) -> None:
        """The process is gone: what it had claimed is free at once, and it starts again after a pause."""
        assert self.process is not None
        log.error("worker_died", extra={"worker": self.name, "exit_code": self.process.returncode})
        try:
            for group in self._groups:
                ledger.end_lease(f"{self.name}/{group}")
        except LedgerUnavailableError:
            log.warning("lease_not_ended %s: it lapses by itself", self.name)
        lived = time.monotonic() - self.started
        self._pause = _FIRST_PAUSE if lived > _HEALTHY_SECONDS else min(self._pause * 2, _LONGEST_PAUSE)
        self.start_at = time.monotonic() + self._pause
        self.process = None


def run_processes(count: int, groups: Sequence[str], settings: conf.BusSettings) -> int:
    """Run `count` workers until SIGTERM or SIGINT, then let them drain. Returns an exit code."""
    arguments = [sys.executable, *_this_command(), "run_consumer", "--concurrency", str(settings.concurrency)]
    for group in groups:
        arguments += ["--group", group]
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    ledger = Ledger(settings=settings)
    children = [_Child(arguments, groups) for _ in range(count)]
    while not stopping.wait(0.2):
        for child in children:
            if child.process is not None and child.process.poll() is not None:
                child.bury(ledger)
            if child.process is None and time.monotonic() >= child.start_at:
                child.start()
    return _stop(children, settings.drain_seconds + 10)


def _this_command() -> list[str]:
    """What follows `python` on a command line that does what this process does: `-m module` or a script."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        # A package run with -m would as a file miss the current directory, and with it the project.
        return ["-m", spec.name.removesuffix(".__main__")]
    return [sys.argv[0]] if sys.argv[0].endswith(".py") else ["-m", "django"]


def _stop(children: Sequence[_Child], patience: float) -> int:
    running = [child.process for child in children if child.process is not None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + patience
    for process in running:
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("worker_killed pid %s didn't stop in %s s", process.pid, patience)
            process.kill()
    return 0
