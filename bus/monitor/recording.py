"""The monitor's part in history: it turns what happens into samples for charts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import F, Max, Sum

from bus import conf
from bus.activity import ActivityStream
from bus.errors import LedgerUnavailableError
from bus.history.reading import GROUP
from bus.history.recorder import Recorder, Values
from bus.ledger import Ledger
from bus.models import ErrorGroup, GroupState, LetterStatus
from bus.presence import Presence, WorkerPresence

RECORD_SECONDS = 1.0
# What was sampled longer ago is no sample of now.
_FRESH = timedelta(seconds=10)


class Recording:
    """Records the activity stream, lags, dead letters and workers."""

    name = "record"

    def __init__(self, settings: conf.BusSettings) -> None:
        self._settings = settings
        self._recorder: Recorder | None = None

    def step(self) -> float:
        if self._recorder is None:
            ledger = Ledger(settings=self._settings)
            self._recorder = Recorder(ActivityStream(ledger), Gauges(Presence(ledger).alive))
        return 0.0 if self._recorder.step() else RECORD_SECONDS

    def close(self) -> None:
        self._recorder = None
        connection.close()


class Gauges:
    """What is true at this moment, by series."""

    def __init__(
        self,
        workers: Callable[[], list[WorkerPresence]],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._workers = workers
        self._now = now
        self._letters: int | None = None

    def __call__(self) -> Values:
        found: dict[str, dict[str, float]] = {"dead-letters": self._dead_letters()}
        found.update(self._lags())
        try:
            found["workers"] = {"count": len(self._workers())}
        except LedgerUnavailableError:
            pass  # nobody knows
        return found

    def _lags(self) -> dict[str, dict[str, float]]:
        fresh = GroupState.objects.filter(is_ours=True, sampled_at__gte=self._now() - _FRESH)
        found: dict[str, dict[str, float]] = {}
        for name, lag, time_lag in fresh.values_list("name", "lag", "time_lag_seconds"):
            found[GROUP + name] = {"lag": lag} if time_lag is None else {"lag": lag, "timeLag": time_lag}
        if found:
            told: Any = fresh.aggregate(total=Sum("lag"), worst=Max("time_lag_seconds"))
            found["lag"] = {"total": told["total"]}
            if told["worst"] is not None:
                found["lag"]["worstSeconds"] = told["worst"]
        return found

    def _dead_letters(self) -> dict[str, float]:
        every: Any = sum((F(name) for name in LetterStatus.values[1:]), F(LetterStatus.values[0]))
        # Not named "open": what follows would take that for the sum instead of the column.
        told = ErrorGroup.objects.aggregate(open_now=Sum("open"), every=Sum(every))
        before, self._letters = self._letters, told["every"] or 0
        counted: dict[str, float] = {"open": told["open_now"] or 0}
        if before is not None:
            counted["new"] = max(0, self._letters - before)  # fewer: old ones were deleted
        return counted
