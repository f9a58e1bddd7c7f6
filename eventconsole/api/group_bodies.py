"""What requests and answers about consumer groups look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from eventconsole.api.bodies import Answer, Body, Label
from eventconsole.api.dead_letter_bodies import Moment

_TopicName = Annotated[str, Field(max_length=249)]
_Partition = Annotated[int, Field(ge=0, lt=2**31)]
_Offset = Annotated[int, Field(ge=0, lt=2**63)]


class GroupsQuery(BaseModel):
    """Which groups, and which page of them."""

    q: str = Field("", max_length=249, description="Text in the name.")
    ours: bool | None = Field(None, description="Only groups of the catalog, or only others.")
    behind: bool = Field(False, description="Leave out groups without lag.")
    sort: Literal["name", "lag", "timeLag"] = "lag"
    order: Literal["asc", "desc"] | None = Field(None, description="By default asc for names, else desc.")
    limit: int = Field(50, ge=1, le=500)
    cursor: str | None = Field(None, max_length=2000, description="`next` of the page before.")


class SteerRequest(Body):
    """What is paused or resumed: the whole group, or one topic of it."""

    topic: _TopicName = Field("", description="Empty: the whole group.")
    reason: Label = ""


class PlaceRequest(Body):
    """Where to go on in one partition."""

    topic: _TopicName
    partition: _Partition
    offset: _Offset


class PlanRequest(Body):
    """Where the group is to go on."""

    to: Literal["earliest", "latest", "time", "offsets"]
    at: Moment | None = Field(None, description="With `time`: the first event written then or later.")
    offsets: list[PlaceRequest] = Field(default_factory=list, max_length=2000, description="With `offsets`.")
    topics: list[_TopicName] = Field(
        default_factory=list, max_length=500, description="Only these of the group's topics; all without any."
    )


class MoveRequest(Body):
    """A row of the plan, as it was answered."""

    topic: _TopicName
    partition: _Partition
    before: _Offset | None
    after: _Offset


class ApplyRequest(Body):
    """A plan to carry out: its rows, and the epoch that it saw."""

    offsets: list[MoveRequest] = Field(min_length=1, max_length=2000)
    epoch: int = Field(ge=0, lt=2**31)
    handle_again: bool = Field(False, description="Handle again what is handled already: a new epoch of the group.")
    reason: Label = ""


class PauseAnswer(Answer):
    """What is paused: a topic of the group, or with an empty one all of it."""

    topic: str
    who: str
    why: str
    at: datetime


class GroupAnswer(Answer):
    """A consumer group as the monitor saw it last, at `sampledAt`; null is what nobody knows.

    A token for some topics gets the figures of these alone.
    """

    name: str
    is_ours: bool
    state: str | None
    members: int | None
    workers: int | None
    topics: list[str]
    lag: int | None
    time_lag: float | None = Field(description="Seconds")
    rate: float | None = Field(description="Events committed per second")
    trend: str | None
    drain_seconds: float | None
    reason: str = Field(description="Why it waits; empty when it doesn't")
    error: str
    sampled_at: datetime | None
    pauses: list[PauseAnswer]
    epoch: int = Field(description="How often it was told to handle events again")


class OneGroupAnswer(GroupAnswer):
    """A group with its partitions."""

    partitions: list[dict[str, Any]]
    possible: list[str] = Field(description="What can be done to it")


class GroupList(Answer):
    """A page of groups."""

    data: list[GroupAnswer]
    next: str | None


class OneGroup(Answer):
    """The answer about one group."""

    success: bool
    data: OneGroupAnswer


class SteeredAnswer(Answer):
    """What is paused now. `told`: workers obey within 2 s; otherwise as soon as Redis is back."""

    group: str
    pauses: list[PauseAnswer]
    told: bool


class Steered(Answer):
    """The answer to pause and resume."""

    success: bool
    message: str
    data: SteeredAnswer


class RowAnswer(Answer):
    """One partition: where the group is, and where it would go on. `before` is null without a commit."""

    topic: str
    partition: int
    before: int | None
    after: int
    first: int
    end: int
    lag_before: int
    lag_after: int


class SkippedAnswer(Answer):
    """Of `lookedAt` events so many would be skipped: handled already, or dead letters."""

    total: int
    looked_at: int
    handled: int
    dead_letters: int


class PlanAnswer(Answer):
    """What a reset would do. `again` events would be read again, `passed` ones never."""

    group: str
    epoch: int
    rows: list[RowAnswer]
    lag_before: int
    lag_after: int
    again: int
    passed: int
    skipped: SkippedAnswer | None
    can_handle_again: bool
    note: str


class OnePlan(Answer):
    """The answer of a plan."""

    success: bool
    data: PlanAnswer


class AppliedAnswer(Answer):
    """What was set, and the group's epoch from now on."""

    group: str
    partitions: int
    epoch: int


class Applied(Answer):
    """The answer to a reset."""

    success: bool
    data: AppliedAnswer
