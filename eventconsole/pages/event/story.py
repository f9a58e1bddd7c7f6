"""What became of an event, as its page tells it: from the ledger, the dead letters and the audit. Kafka isn't asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import bus
from bus import audit
from bus.deadletterindex.summaries import letters_of_event
from bus.errors import LedgerUnavailableError
from bus.handlers import registry
from bus.ledger import Attempt, EventStatus, GroupStatus, PublishRecord, Status
from bus.models import AuditEntry, DeadLetter, ReplayItem
from eventconsole.pages.event.sentences import Sentence, of_event, of_group
from eventconsole.state import ledger

#: Of each group these attempts are shown; a handler may be tried more often.
MOST_ATTEMPTS = 50
_MOST_REPLAYS = 50
_WORST_FIRST = ("failed", "retrying", "processing", "pending", "processed")


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt. `error_type` and `error` are empty when it succeeded; `waited_ms` is since the one before."""

    number: int
    at_ms: int
    duration_ms: int | None
    worker: str
    error_type: str = ""
    error: str = ""
    waited_ms: int | None = None
    is_running: bool = False


@dataclass(frozen=True, slots=True)
class GroupStory:
    """What one consumer group made of the event. `most` attempts are made, None when its handler isn't known here."""

    name: str
    status: str
    generation: int
    runs: Sequence[Run]
    most: int | None
    next_retry_at_ms: int | None
    worker: str | None
    duplicates: int
    sentence: Sentence
    has_handler: bool

    @property
    def failed_runs(self) -> int:
        """How many attempts failed."""
        return sum(1 for run in self.runs if run.error_type or run.error)

    @property
    def is_lit(self) -> dict[str, bool]:
        """Which states, and ways between them, the event took."""
        ran = bool(self.runs) or self.status == "processing"
        retried = self.status == "retrying" or len(self.runs) > 1
        return {
            "processing": ran,
            "retrying": retried,
            "processed": self.status == "processed",
            "failed": self.status == "failed",
            "again": retried and (len(self.runs) > 1 or self.status == "processing"),
        }

    @property
    def retries(self) -> int:
        """How often it was put off."""
        return max(0, len(self.runs) - 1) + (self.status == "retrying")


@dataclass(slots=True)
class Story:
    """All that is known of an event without asking Kafka. `problems` say what couldn't be asked."""

    event_id: str
    topic: str = ""
    published: PublishRecord | None = None
    groups: list[GroupStory] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    replays: list[ReplayItem] = field(default_factory=list)
    entries: list[AuditEntry] = field(default_factory=list)
    published_twice: int = 0
    problems: list[str] = field(default_factory=list)
    sentence: Sentence = field(default_factory=lambda: Sentence("", ""))
    knows_redis: bool = True

    @property
    def is_known(self) -> bool:
        """Whether anything is known of the event."""
        return bool(self.published or self.groups or self.letters)

    @property
    def place(self) -> str:
        """`topic/partition/offset` where it was published; empty when the ledger doesn't know."""
        return f"{self.published.topic}/{self.published.partition}/{self.published.offset}" if self.published else ""

    @property
    def status(self) -> str:
        """The state of the whole: the first of these that a group has."""
        states = {group.status for group in self.groups}
        return next((each for each in _WORST_FIRST if each in states), "")


def story_of(event_id: str, now_ms: int) -> Story:
    """Everything about an event. What Redis would say is missing while it is away, and `problems` say so."""
    story = Story(event_id, letters=letters_of_event(event_id))
    try:
        found = bus.event_status(event_id)
        duplicates = ledger().duplicates(event_id)
    except LedgerUnavailableError as error:
        story.problems.append(str(error))
        story.knows_redis = False
        found, duplicates = None, {}
    if found is not None:
        story.published = found.published
        story.topic = found.published.topic if found.published else found.groups[0].topic
        story.groups = _groups(story.topic, found, duplicates, now_ms)
        story.published_twice = duplicates.get("publish", 0)
    elif story.letters:
        story.topic = story.letters[0].topic
    ids = [letter.pk for letter in story.letters]
    if ids:
        items = ReplayItem.objects.filter(dead_letter_id__in=ids).select_related("replay", "dead_letter")
        story.replays = list(items.order_by("-replay_id")[:_MOST_REPLAYS])
        story.entries = audit.of_letters(ids)
    story.sentence = of_event(story, now_ms)
    return story


def _groups(topic: str, found: EventStatus, duplicates: dict[str, int], now_ms: int) -> list[GroupStory]:
    known: dict[str, GroupStatus | None] = dict.fromkeys(registry.groups_for(topic))
    known |= {each.group: each for each in found.groups}
    return [_group(name, topic, status, duplicates.get(name, 0), now_ms) for name, status in sorted(known.items())]


def _group(name: str, topic: str, found: GroupStatus | None, duplicates: int, now_ms: int) -> GroupStory:
    handler = registry.for_group(name).get(topic)
    runs = _runs(found.attempts) if found else []
    status = found.status if found else Status.PENDING
    if found is not None and status is Status.PROCESSING and len(runs) < MOST_ATTEMPTS:
        runs.append(Run(len(runs) + 1, 0, None, found.worker or "", is_running=True))
    given: dict[str, Any] = {
        "name": name,
        "status": str(status).lower(),
        "generation": found.generation if found else 0,
        "runs": runs,
        "most": handler.policy.max_attempts if handler else None,
        "next_retry_at_ms": found.next_retry_at_ms if found else None,
        "worker": found.worker if found else None,
        "duplicates": duplicates,
        "has_handler": handler is not None,
    }
    return GroupStory(**given, sentence=of_group(given, now_ms))


def _runs(attempts: Sequence[Attempt]) -> list[Run]:
    runs: list[Run] = []
    ended_at: int | None = None
    for number, attempt in enumerate(attempts[:MOST_ATTEMPTS], 1):
        kind, _, rest = (attempt.error or "").partition(": ")
        waited = attempt.at_ms - ended_at if ended_at is not None else None
        runs.append(Run(number, attempt.at_ms, attempt.duration_ms, attempt.worker, kind, rest, waited))
        ended_at = attempt.at_ms + attempt.duration_ms
    return runs
