"""A quickstart as a person starts it: a process, a folder, a port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0
_NOT_INHERITED = ("BUS_", "KAFKA_", "REDIS_", "QUICKSTART_", "DJANGO_", "APP_ENV", "DATABASE_URL", "SECRET_KEY", "PORT")
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def environment_of(folder: Path, **more: str) -> dict[str, str]:
    """Ours without what would make the quickstart another one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    return kept | {"QUICKSTART_DIR": str(folder), "PORT": "0", "BUS_ENV_FILE": "", **more}


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """What the condition says, once that is something."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)
    return found


def descendants(pid: int) -> dict[int, str]:
    """Processes that the process started, and those that they started, with their command lines."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found: dict[int, str] = {}
    wanted = {pid}
    while wanted:
        wanted = {child for child, parent in parents.items() if parent in wanted}
        found |= {child: command_of(child) for child in wanted}
    return found


def command_of(pid: int) -> str:
    """The command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


class Quickstart:
    """One start of it. What it says is in `terminal`."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.folder = folder
        self.terminal = folder.parent / f"{folder.name}-terminal.log"
        with self.terminal.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "quickstart", *arguments],
                cwd=ROOT,
                env=environment_of(folder, **environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.ready: dict[str, Any] = {}
        self.known: dict[int, str] = {}

    @property
    def ready_file(self) -> Path:
        return self.folder / "ready.json"

    def said(self) -> str:
        """All that came to the terminal."""
        return self.terminal.read_text(errors="replace")

    def wait_until_ready(self) -> dict[str, Any]:
        """What ready.json says."""

        def is_over() -> bool:
            return self.ready_file.exists() or self.process.poll() is not None

        try:
            wait_until(is_over, _START_SECONDS, "ready.json")
            assert self.process.poll() is None
        except (TimeoutError, AssertionError) as error:
            raise AssertionError(f"{error}\n{self.said()}") from None
        self.ready = json.loads(self.ready_file.read_text())
        self.known = descendants(self.process.pid)
        return self.ready

    def pid_of(self, words: str) -> int:
        """The process with these words on its command line."""
        return next(pid for pid, command in descendants(self.process.pid).items() if words in command)

    def left_over(self) -> dict[int, str]:
        """Processes that were there when it was ready, and still are."""
        return {pid: command for pid, command in self.known.items() if command and command_of(pid) == command}

    def memory(self) -> int:
        """Bytes that it and its processes take together; what they share counts once."""
        pids = [self.process.pid, *descendants(self.process.pid)]
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
        return (
            sum(int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("Pss:")) * 1024
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Ask it to stop; returns how long it took, in seconds."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - started

    def kill(self) -> None:
        """End it however it is."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def call(self, path: str, body: Mapping[str, Any] | None = None, token: str | None = None) -> tuple[int, Any]:
        """Status and decoded answer of an API call; the token is the quickstart's unless another is given."""
        request = urllib.request.Request(
            f"{self.ready['url']}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.ready['token'] if token is None else token}",
                "Content-Type": "application/json",
            },
        )
        try:
            with _opener.open(request, timeout=15) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def publish(self, topic: str, data: Mapping[str, Any]) -> str:
        """Publish an event over HTTP; returns its id."""
        status, answer = self.call("/api/events/publish", {"topic": topic, "data": data})
        assert status in (200, 201, 202), answer
        return str(answer["data"]["eventId"])

    def status_of(self, event_id: str) -> str | None:
        """What became of an event: the status over all groups."""
        status, answer = self.call(f"/api/events/{event_id}")
        return str(answer["data"]["status"]) if status == 200 else None
