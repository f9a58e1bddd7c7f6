"""A program to run, and one run of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bus.embedded.tether import tethered


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how it wants to be treated."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside our own."""
    grace: float = 2.0
    """Seconds between SIGTERM and SIGKILL."""
    restarts: bool = True
    """Whether it is started again when it dies. Who starts one that isn't must look after it."""
    reloads: bool = False
    """Whether it runs our code, and so has to start again when a file of it changes."""
    inherits: tuple[int, ...] = ()
    """File descriptors that it gets from us."""
    folder: Path | None = None
    """Where it runs; where we run, unless given."""


class Child:
    """One run of a program, in a session of its own: the terminal's Ctrl-C reaches us alone, and whatever the program
    started can be ended with it.
    """

    def __init__(self, program: Program, now: float, captured: bool) -> None:
        """Start it. `captured` output is read from `output`; else it goes where ours goes."""
        self.program = program
        self.started_at = now
        self._process = subprocess.Popen(
            tethered(list(program.command)),
            cwd=program.folder,
            env={**os.environ, **program.environment},
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if captured else None,
            stderr=subprocess.STDOUT if captured else None,
            start_new_session=True,
            pass_fds=program.inherits,
        )
        self.pid = self._process.pid
        self.output: IO[bytes] | None = self._process.stdout
        if self.output:
            os.set_blocking(self.output.fileno(), False)

    def has_ended(self) -> bool:
        """Whether the program ended. What it had started and left behind is ended then too."""
        if self._process.returncode is not None:
            return True
        if not self._is_dead():
            return False
        # Before the dead leader is reaped: until then its process group can't be anybody else's.
        self.signal(signal.SIGKILL)
        self._process.wait()
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and to what it started."""
        if self._process.returncode is None:
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                # Gone already; macOS says "not permitted" of a group in which only the dead are left.
                pass

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the program alone: it knows in which order its own children stop."""
        if self._process.returncode is None:
            self._process.terminate()

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        if code is None:
            return "runs"
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    @property
    def was_killed(self) -> bool:
        """Whether somebody else ended it."""
        return self._process.returncode in (-signal.SIGKILL, -signal.SIGTERM)

    def _is_dead(self) -> bool:
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._process.poll() is not None
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found is not None and found.si_pid == self.pid
