"""Workers as processes of their own, which tests start, watch and kill."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.processes import BoundProcess, wait_until

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 30.0


class Worker:
    """A management command in a process of its own, most often `run_consumer`."""

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        env: Mapping[str, str],
        crash_at: Sequence[str] = (),
        freeze_at: Sequence[str] = (),
    ) -> None:
        """`crash_at` and `freeze_at` are points as `tests.worker.accidents` reads them."""
        accidents = [part for point in crash_at for part in ("--crash-at", point)]
        accidents += [part for point in freeze_at for part in ("--freeze-at", point)]
        arguments = [sys.executable, "-m", "tests.worker", *accidents, *command]
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._process = BoundProcess(arguments, folder / "worker.log", {**inherited, **env}, ROOT)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """All that it wrote so far."""
        return self._process.output()

    @property
    def returncode(self) -> int | None:
        """The exit status (negative: killed by that signal), or None while it runs."""
        return self._process.returncode

    def log(self, event: str = "") -> list[dict[str, Any]]:
        """Its log lines, decoded; only those whose event is this or begins with this word, if wanted."""
        lines: list[dict[str, Any]] = []
        for line in self.output.splitlines():
            try:
                decoded = json.loads(line)
            except ValueError:
                continue
            if isinstance(decoded, dict) and event in ("", *str(decoded.get("event")).split(" ", 1)[:1]):
                lines.append(decoded)
        return lines

    def wait_ready(self, groups: int = 1, seconds: float = READY_SECONDS) -> None:
        """Wait until it has partitions of that many groups to work on. Raises StartError with its output."""
        self._process.wait_ready(lambda: len(self._groups_with_partitions()) >= groups, seconds)

    def wait_for(self, condition: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
        """Wait until something is so. Raises StartError with its output when it ends before, or takes longer."""
        self._process.wait_ready(condition, seconds)

    def wait_for_output(self, pattern: str, seconds: float = READY_SECONDS) -> None:
        """Wait until it wrote something that matches. Raises StartError when it ends before, or takes longer."""
        self._process.wait_ready(lambda: re.search(pattern, self.output) is not None, seconds)

    def _groups_with_partitions(self) -> set[str]:
        return {line["group"] for line in self.log("partitions_assigned") if line.get("partitions")}

    def wait_for_accident(self, seconds: float = READY_SECONDS) -> None:
        """Wait until it reached the point where it was to freeze or die. Raises TimeoutError."""
        wait_until(lambda: "\naccident at " in f"\n{self.output}", seconds, f"the accident; so far:\n{self.output}")

    def wait(self, seconds: float = READY_SECONDS) -> int:
        """Wait for its end and return the exit status. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def sigterm(self, seconds: float = READY_SECONDS) -> int:
        """Ask it to stop, and wait. Returns the exit status. Raises subprocess.TimeoutExpired."""
        self._process.signal(signal.SIGTERM)
        return self._process.wait(seconds)

    def sigkill(self) -> None:
        """Kill it, and wait."""
        self._process.kill()

    def freeze(self) -> None:
        """Let all of its threads stand still."""
        self._process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """End a freeze."""
        self._process.signal(signal.SIGCONT)
