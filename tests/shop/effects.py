"""What handlers did, written down so that it outlives them: one line per step, appended in one write."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Effect:
    """A step of a handler: `started`, or `done` once it returned without an error."""

    step: str
    group: str
    topic: str
    partition: int
    offset: int
    event_id: str
    attempt: int
    generation: int
    pid: int
    number: int | None
    """`data.n` of the event."""


class Effects:
    """The file of effects; any number of processes append to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, effect: Effect) -> None:
        """Append a line. It is in the file when this returns, and stays there if the process is killed."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, (json.dumps(asdict(effect)) + "\n").encode())
        finally:
            os.close(descriptor)

    def read(self, step: str | None = None, group: str | None = None) -> list[Effect]:
        """The effects so far in the order they were written, of one step or group if wanted."""
        try:
            lines = self.path.read_text().splitlines()
        except FileNotFoundError:
            return []
        found = [Effect(**json.loads(line)) for line in lines]
        return [each for each in found if step in (None, each.step) and group in (None, each.group)]

    def done(self, group: str | None = None) -> list[int]:
        """`data.n` of every event that was handled, in order; one that was handled twice is there twice."""
        return [each.number for each in self.read("done", group) if each.number is not None]
