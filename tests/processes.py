"""Server processes of the tests: they end with the test run, even when that is killed."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bus.embedded.tether import tethered

# Below the range that the kernel hands out to outgoing connections, so that a port stays free while its server is down.
_PORTS = range(20_000, 32_000)


class StartError(Exception):
    """A process of the tests ended or stayed silent instead of getting ready. The message ends with its last output."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on."""
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            candidate = socket.socket()
            try:
                candidate.bind(("127.0.0.1", random.choice(_PORTS)))
            except OSError:
                candidate.close()
                continue
            sockets.append(candidate)
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def accepts(port: int) -> bool:
    """Whether something listens on that port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], seconds: float, what: str, pause: float = 0.02) -> None:
    """Wait for a condition; raise TimeoutError that says what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(pause)


class BoundProcess:
    """A process that is killed with the thread that started it. Its output goes to a file.

    It runs in a session of its own, so that Ctrl-C reaches the test run alone, which then ends it in order.
    """

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.command = list(command)
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                tethered(self.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id, the same before and after the command replaced its starter."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status (negative: killed by that signal), or None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """What this process wrote so far, errors included."""
        with self.log.open("rb") as written:
            written.seek(self._log_start)
            return written.read().decode(errors="replace")

    def wait_ready(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until it is ready. Raises StartError when it ends before, or takes longer."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.returncode is not None:
                raise StartError(f"{self.command[0]} ended with {self.returncode}:\n{self.output()[-4000:]}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.command[0]} was not ready after {seconds:g} s:\n{self.output()[-4000:]}")
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Wait for its end and return the exit status. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def stop(self, seconds: float = 10) -> int:
        """SIGTERM, and SIGKILL if it still runs after that time. Returns the exit status."""
        if self.returncode is None:
            self.signal(signal.SIGTERM)
            try:
                return self.wait(seconds)
            except subprocess.TimeoutExpired:
                return self.kill()
        return self.wait(0)

    def kill(self) -> int:
        """SIGKILL, and wait for the end."""
        self._process.kill()
        return self._process.wait()
