"""What requests and answers about replays look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from eventconsole.api.bodies import Answer, Body, Label
from eventconsole.api.dead_letter_bodies import LetterFilters

State = Literal["planned", "running", "paused", "waiting for canary", "stopped by canary", "cancelled", "completed"]

ItemState = Literal["waiting", "sent", "handled", "failed again", "skipped"]


class EditRequest(Body):
    """What is sent in place of the original. What isn't named stays as it is."""

    data: Any = Field(None, description="The event's data as a whole; held against the topic's model.")
    key: str | None = Field(None, description="The key; null takes it away.")
    headers: dict[str, str | None] = Field(
        default_factory=dict, description="Headers to set, null to take away. event-id, replay-of and dlq-* are locked."
    )


class ReplayOneRequest(Body):
    """How a dead letter is replayed."""

    delay: float = Field(0.0, description="Seconds until it is sent; until then it can be undone.")
    force: bool = Field(False, description="Asked for above generation 3.")
    all_groups: bool = Field(False, description="Asked for without a group: all groups of its topic will see it.")
    reason: Label = ""
    edit: EditRequest | None = None


class PlanRequest(Body):
    """A replay of many: a filter or ids. An empty filter means every open dead letter."""

    filter: LetterFilters | None = None
    ids: list[Annotated[int, Field(ge=1, lt=2**63)]] | None = None
    force: bool = False
    all_groups: bool = False
    reason: Label = ""


class RunRequest(Body):
    """How a planned replay runs."""

    rate: float | None = Field(None, description="Events per second; as fast as it goes without it.")
    canary: int | None = Field(None, description="So many go first, and their outcome is waited for.")
    stop_at_percent: float | None = Field(None, description="Stop when more of the canary fail again; 0 by default.")


class RateRequest(Body):
    """Another rate for a replay that was started."""

    rate: float | None = Field(description="Events per second; null for as fast as it goes.")


class Place(Answer):
    """How many dead letters of a replay are of one topic and group."""

    topic: str
    group: str
    count: int


class ReplayAnswer(Answer):
    """A replay. `rate` is what was asked for, `speed` what is reached, both in events per second."""

    id: int
    state: State
    kind: Literal["one", "many", "edit"]
    total: int
    sent: int
    handled: int
    failed_again: int
    failed_again_same: int = Field(description="With the same error")
    failed_again_other: int = Field(description="With another error")
    pending: int = Field(description="Sent, without an outcome yet")
    waiting: int = Field(description="Not sent yet")
    skipped: int
    rate: float | None
    speed: float | None
    seconds_left: float | None
    canary: int | None
    stop_at_percent: float | None
    send_at: datetime | None
    created_at: datetime
    created_by: str
    changed_at: datetime | None
    changed_by: str
    started_at: datetime | None
    finished_at: datetime | None
    reason: str
    filter: dict[str, Any]
    places: list[Place]
    possible: list[str] = Field(description="What can be done to it now")


class WarningAnswer(Answer):
    """What to know before it runs."""

    kind: str
    count: int
    text: str
    detail: Any = None


class SampleAnswer(Answer):
    """A dead letter of the sample."""

    id: int
    topic: str
    group: str
    event_id: str
    key: str | None
    generation: int
    replayed_times: int
    error: dict[str, str]


class PlanAnswer(ReplayAnswer):
    """A planned replay, with the first twenty and what to expect."""

    sample: list[SampleAnswer]
    warnings: list[WarningAnswer]


class OneReplay(Answer):
    """The answer about one replay."""

    success: bool
    data: ReplayAnswer


class OnePlan(Answer):
    """The answer of a plan."""

    success: bool
    data: PlanAnswer


class ReplayQuery(BaseModel):
    """Which replays, and which page of them."""

    state: State | None = None
    limit: int = Field(50, ge=1, le=500)
    cursor: int | None = Field(None, ge=0, lt=2**63)


class ItemQuery(BaseModel):
    """Which dead letters of a replay, and which page of them."""

    state: ItemState | None = None
    limit: int = Field(50, ge=1, le=500)
    cursor: int | None = Field(None, ge=0, lt=2**63)


class ReplayList(Answer):
    """A page of replays, the newest first."""

    data: list[ReplayAnswer]
    next: str | None


class ItemAnswer(Answer):
    """One dead letter of a replay."""

    sequence: int
    dead_letter: int
    state: ItemState
    note: str
    sent_at: datetime | None
    finished_at: datetime | None


class ItemList(Answer):
    """A page of a replay's dead letters, in the order in which they are sent."""

    data: list[ItemAnswer]
    next: str | None
