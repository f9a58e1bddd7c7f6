"""Why something can't be done to a dead letter or a replay. What was asked for wrongly is an InvalidEventError."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bus.errors import BusError


class UnknownThingError(BusError):
    """There is no such dead letter or replay."""


class NotPossibleError(BusError):
    """It is in another state. `who` changed it last, at `at`; `possible` are the verbs that its state allows."""

    def __init__(self, problem: str, who: str = "", at: datetime | None = None, possible: Sequence[str] = ()) -> None:
        when = f" on {at:%Y-%m-%d at %H:%M:%S} UTC" if at else ""
        by = f" by {who}{when}" if who else ""
        allowed = f"; possible: {', '.join(possible)}" if possible else ""
        super().__init__(f"{problem}{by}{allowed}")
        self.who = who
        self.at = at
        self.possible = tuple(possible)
