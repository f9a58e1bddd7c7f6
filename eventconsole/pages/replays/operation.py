"""A replay as pages tell it: one sentence, a bar, the numbers and what can be done now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from bus.deadletterindex.times import moment
from bus.models import ErrorGroup, Replay
from bus.replay import states
from bus.replay.report import Progress, progress_of
from bus.replay.states import ACTIVE

State = Replay.State

#: So long a finished operation stays on the page of dead letters, unless somebody dismisses it before.
STAYS_FOR: Final = timedelta(hours=12)
#: A monitor and a Kafka that are there have sent something by then.
BEGINS_WITHIN: Final = timedelta(seconds=15)
#: Plans of so many and more suggest a canary.
CANARY_FROM: Final = 50
CANARY: Final = 20
STOP_AT_PERCENT: Final = 5
_MOST: Final = 10
_BAR: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the bar: `kind` is its class, in units of a thousandth of the whole."""

    kind: str
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Operation:
    """A replay with its progress. `title` says of what, without its number."""

    replay: Replay
    progress: Progress
    title: str
    fingerprint: str = ""
    is_late: bool = False
    """Nothing was sent for so long that the monitor or Kafka may be away."""

    @property
    def is_over(self) -> bool:
        """Whether nobody does anything for it any more, save waiting for outcomes of what was sent."""
        return self.replay.state in (State.COMPLETED, State.CANCELLED)

    @property
    def possible(self) -> list[str]:
        """What a person can do now."""
        return states.possible(self.replay.state)

    @property
    def tone(self) -> str:
        """How the sentence looks."""
        if self.replay.state == State.STOPPED_BY_CANARY or self.is_late:
            return "bad"
        if self.progress.failed_again:
            return "warn"
        if self.replay.state == State.COMPLETED and not self.progress.skipped:
            return "good"
        return "warn" if self.replay.state in (State.PAUSED, State.CANCELLED) else ""

    @property
    def percent(self) -> int:
        """Share of those that have an outcome; 100 only when all have."""
        total = self.replay.total
        ended = self.progress.handled + self.progress.failed_again + self.progress.skipped
        return ended * 100 // total if total else 100

    @property
    def bar(self) -> list[Part]:
        """Outcomes from the left, what waits at the right."""
        counts = (
            ("handled", self.progress.handled),
            ("failed", self.progress.failed_again),
            ("pending", self.progress.pending),
            ("skipped", self.progress.skipped),
        )
        parts, start = [], 0.0
        for kind, count in counts:
            width = count * _BAR / self.replay.total if self.replay.total else 0.0
            if width:
                parts.append(Part(kind, round(start, 2), round(width, 2)))
                start += width
        return parts

    @property
    def canary_size(self) -> int:
        """How many go first; never more than there are."""
        return min(self.replay.canary or 0, self.replay.total)

    @property
    def failed_percent(self) -> float:
        """Share of those sent that failed again."""
        return round(self.progress.failed_again * 100 / self.progress.sent, 1) if self.progress.sent else 0.0

    @property
    def until(self) -> datetime:
        """Only dead letters that failed before this are in it."""
        given = self.replay.filter.get("until")
        return min(moment(given), self.replay.created_at) if given else self.replay.created_at

    @property
    def groups(self) -> list[str]:
        """The consumer groups that it goes to; the empty name for all groups of a topic."""
        return sorted({group for _, group, _ in self.replay.places})

    @property
    def topics(self) -> list[str]:
        """The topics that its dead letters are from."""
        return sorted({topic for topic, _, _ in self.replay.places})

    @property
    def target(self) -> str:
        """Where to, in few words."""
        groups = self.groups
        if groups == [""]:
            return "all groups of the topic"
        return groups[0] if len(groups) == 1 else f"{len(groups)} consumer groups"

    @property
    def wants_canary(self) -> bool:
        """Whether it is large enough for a canary to be suggested."""
        return self.replay.total >= CANARY_FROM


def operation_of(replay: Replay, now: datetime) -> Operation:
    """One replay."""
    (made,) = operations_of([replay], now)
    return made


def operations_of(replays: Sequence[Replay], now: datetime) -> list[Operation]:
    """Replays with their progress, and what they are of; one query for the names of all error groups."""
    keys = {each.filter.get("fingerprint") for each in replays} - {None}
    kinds = {group.pk: group for group in ErrorGroup.objects.filter(pk__in=keys)} if keys else {}
    return [
        Operation(
            each, progress_of(each, now), _title(each, kinds), each.filter.get("fingerprint") or "", _late(each, now)
        )
        for each in replays
    ]


def _late(replay: Replay, now: datetime) -> bool:
    began = replay.send_at or replay.started_at
    return replay.state == State.RUNNING and not replay.sent and began is not None and now - began > BEGINS_WITHIN


def shown_beside_dead_letters(now: datetime) -> list[Replay]:
    """What runs, rests or needs a decision, and what ended lately; operations of many alone."""
    many = Replay.objects.filter(kind=Replay.Kind.MANY)
    running = list(many.filter(state__in=ACTIVE).order_by("-pk")[:_MOST])
    newest = many.order_by("-pk")[:_MOST]
    ended = [each for each in newest if each.finished_at is not None and each.finished_at >= now - STAYS_FOR]
    return [*running, *(each for each in ended if each.started_at is not None)][:_MOST]


def operations_by_fingerprint(fingerprints: Iterable[str], now: datetime) -> dict[str, Operation]:
    """The operation that each of these error groups is in; the newest where there are several."""
    wanted = set(fingerprints)
    found = [each for each in shown_beside_dead_letters(now) if each.filter.get("fingerprint") in wanted]
    return {each.fingerprint: each for each in reversed(operations_of(found, now))}


def _title(replay: Replay, kinds: dict[str, ErrorGroup]) -> str:
    given: dict[str, Any] = replay.filter
    if "ids" in given:
        return "one dead letter" if replay.total == 1 else "a selection"
    kind = kinds.get(given.get("fingerprint", ""))
    if kind is not None:
        return f"{kind.error_type}: {kind.message}" if kind.error_type else kind.message or "an error without a name"
    words = [f"{_WORDS.get(name, name)} {value}" for name, value in given.items() if name in _WORDS and value]
    return ", ".join(words) or "all open dead letters"


_WORDS: Final = {
    "topic": "topic",
    "group": "group",
    "error_type": "error",
    "event_type": "type",
    "event_id": "event",
    "key": "key",
    "correlation_id": "correlation",
    "reason": "reason",
    "q": "text",
}
