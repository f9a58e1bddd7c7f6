"""What the accidents of `test_harness.py` happen to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Victim:
    """Leaves a line per step."""

    path: Path

    def step(self) -> None:
        """Append a line to the file."""
        with self.path.open("a") as file:
            file.write("step\n")
