"""When a failed event runs again. Pure: no clock, no sleep; the caller says what failed and gets a decision."""

from __future__ import annotations

from dataclasses import dataclass

from bus.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class RunAgain:
    """Run again after `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The attempts are used up."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often an event is tried, and how long it waits in between.

    `delays` are the seconds before the 2nd, 3rd, … attempt; when `max_attempts` exceeds their number by more than one,
    the last delay repeats.
    """

    delays: tuple[float, ...]
    max_attempts: int

    @classmethod
    def of(cls, delays: tuple[float, ...], max_attempts: int | None = None) -> RetryPolicy:
        """A policy; without `max_attempts` an event gets one attempt more than there are delays."""
        if max_attempts is not None and max_attempts < 1:
            raise ConfigurationError(f"max_attempts is {max_attempts}, allowed is 1 or more")
        if any(not 0 <= delay < float("inf") for delay in delays):
            raise ConfigurationError(f"delays are {delays}, allowed are finite seconds ≥ 0")
        return cls(tuple(delays), len(delays) + 1 if max_attempts is None else max_attempts)

    @property
    def total_seconds(self) -> float:
        """The longest an event can wait between its first and last attempt, `RetryLater` aside."""
        waits = self.max_attempts - 1
        repeated = waits - len(self.delays)
        return sum(self.delays[:waits]) + max(0, repeated) * self.delay_after(self.max_attempts)

    def delay_after(self, attempt: int) -> float:
        """Seconds between this attempt (from 1) and the next."""
        if not self.delays:
            return 0.0
        return self.delays[min(attempt, len(self.delays)) - 1]

    def after_failure(self, attempt: int, *, asked_seconds: float | None = None) -> RunAgain | GiveUp:
        """What follows when this attempt (from 1) failed; `asked_seconds` is what a RetryLater asked for."""
        if attempt >= self.max_attempts:
            return GiveUp()
        return RunAgain(self.delay_after(attempt) if asked_seconds is None else asked_seconds)
