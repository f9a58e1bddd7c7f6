"""What requests and answers about dead letters look like."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from bus.deadletterindex.pages import GroupFilter, LetterFilter
from bus.deadletterindex.summaries import MAX_VALUES
from bus.deadletterindex.times import moment
from eventconsole.api.bodies import Answer, Body

MAX_IDS = 10_000
MAX_LIMIT = 200
DEFAULT_LIMIT = 50
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _text(value: str) -> str:
    if found := _UNSTORABLE.search(value):
        raise PydanticCustomError("text", "holds {what}; allowed is any other text", {"what": ascii(found[0])})
    return value


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return moment(value)
        except (ValueError, OverflowError):
            pass
    raise PydanticCustomError("time", "allowed is a time such as 2026-11-24T12:00:00Z")


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


Text = Annotated[str, Field(max_length=1000), AfterValidator(_text)]
Words = Annotated[Text, Field(min_length=1)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Limit = Annotated[int, BeforeValidator(_number), Field(ge=1, le=MAX_LIMIT)]
Reason = Literal["exhausted", "permanent", "undecodable", "crash"]
Status = Literal["open", "replaying", "resolved", "discarded"]


class LetterFilters(Body):
    """Which dead letters: those that fit everything that is given."""

    topic: Text | None = Field(None, description="Where the event failed.")
    group: Text | None = Field(None, description="The consumer group that failed; empty for those that name none.")
    event_id: Text | None = None
    event_type: Text | None = None
    fingerprint: Text | None = Field(None, description="An error group.")
    error_type: Text | None = None
    key: Text | None = None
    correlation_id: Text | None = None
    reason: Reason | None = None
    status: Status | None = None
    since: Moment | None = Field(None, description="Last failed then or later.")
    until: Moment | None = Field(None, description="Last failed before.")
    q: Words | None = Field(None, description="Text in the error message, or a whole eventId, key or correlation id.")

    @model_validator(mode="after")
    def _in_order(self) -> LetterFilters:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise PydanticCustomError("order", "since isn't before until, so nothing can fit")
        return self

    def given(self) -> dict[str, Any]:
        """What is given, by the names of LetterFilter."""
        return {name: value for name in LetterFilters.model_fields if (value := getattr(self, name)) is not None}

    def filter(self, topics: tuple[str, ...] | None) -> LetterFilter:
        """The filter, within the topics that the caller may see."""
        return LetterFilter(**self.given(), topics=topics)


class LetterQuery(LetterFilters):
    """A page of dead letters."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Words | None = Field(None, description="`next` of the page before.")


class GroupQuery(Body):
    """A page of error groups."""

    topic: Text | None = None
    group: Text | None = None
    error_type: Text | None = None
    status: Status | None = Field(None, description="Groups that have dead letters in this status.")
    new_since: Moment | None = Field(None, description="First seen then or later.")
    since: Moment | None = Field(None, description="Last seen then or later.")
    q: Words | None = Field(None, description="Text in the normalised message or the error type.")
    trend: Literal["hour", "day"] | None = Field(None, description="Failures per minute, or per hour of the last day.")
    limit: Limit = DEFAULT_LIMIT
    cursor: Words | None = Field(None, description="`next` of the page before.")

    def filter(self, topics: tuple[str, ...] | None) -> GroupFilter:
        """The filter, within the topics that the caller may see."""
        others = ("trend", "limit", "cursor")
        given = {name: getattr(self, name) for name in GroupQuery.model_fields if name not in others}
        return GroupFilter(**given, topics=topics)


class ValueQuery(Body):
    """What is to be completed, and what was typed so far."""

    of: Literal["topic", "group", "errorType"]
    typed: Text = ""
    limit: Annotated[int, BeforeValidator(_number), Field(ge=1, le=MAX_VALUES)] = 20


class Selection(Body):
    """Dead letters by their ids, or all that fit a filter."""

    ids: Annotated[list[Annotated[int, Field(ge=1, lt=2**63)]], Field(min_length=1, max_length=MAX_IDS)] | None = None
    filter: LetterFilters | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Selection:
        if (self.ids is None) == (self.filter is None):
            raise PydanticCustomError("selection", "give either ids or a filter")
        if self.filter is not None and not self.filter.given():
            raise PydanticCustomError(
                "selection", 'the filter is empty; to mean all dead letters, say so by their status, such as "open"'
            )
        return self


class DiscardRequest(Selection):
    """The body of discard."""

    reason: Words = Field(description="Why; it is kept with each of them, and in the audit.")


class RestoreRequest(Selection):
    """The body of restore."""

    reason: Text = ""


class KeepRequest(Body):
    """The body of keep."""

    keep: bool = Field(True, description="Whether it stays in the index when Kafka deletes its record.")


class NoteRequest(Body):
    """The body of an error group's note; what isn't given stays as it is."""

    note: Annotated[Text, Field(max_length=10_000)] | None = None
    owner: Annotated[Text, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _something(self) -> NoteRequest:
        if self.note is None and self.owner is None:
            raise PydanticCustomError("note", "give a note or an owner; empty text removes it")
        return self


class LetterError(Answer):
    """Why a dead letter failed."""

    type: str | None
    message: str | None


class Letter(Answer):
    """A dead letter. Times are those of the first and the last attempt; `size` is in bytes."""

    id: int
    status: Status
    topic: str
    group: str | None
    event_id: str
    event_type: str | None
    key: str | None
    correlation_id: str | None
    reason: str | None
    attempts: int | None
    error: LetterError
    fingerprint: str
    first_failed_at: str
    last_failed_at: str
    generation: int
    replayed_times: int
    failed_again_times: int
    size: int


class LetterPage(Answer):
    """A page of dead letters, the last failed first."""

    data: list[Letter]
    next: str | None = Field(description="The cursor of the next page; null at the end.")


class TrendAnswer(Answer):
    """Failures per step of so many seconds, the oldest first; the last step is the one that runs."""

    start: str
    step_seconds: int
    counts: list[int]


class Group(Answer):
    """Failures of the same kind; counts by status, over the topics that the caller may see."""

    fingerprint: str
    error_type: str | None
    message: str | None = Field(description="With numbers, ids, quoted text and addresses masked.")
    frame: str | None = Field(description="The innermost frame of the project's own code.")
    count: int
    open: int
    replaying: int
    resolved: int
    discarded: int
    first_seen_at: str
    last_seen_at: str
    topics: list[str]
    groups: list[str]
    replayed: int
    replayed_share: float
    last_replayed_at: str | None
    came_back: int = Field(description="Dead letters of events that were replayed and failed again.")
    came_back_at: str | None
    note: str | None
    owner: str | None
    noted_by: str | None
    noted_at: str | None
    is_new: bool = Field(description="First seen within the last day.")
    trend: TrendAnswer | None = Field(description="When it was asked for.")


class GroupPage(Answer):
    """A page of error groups, the last seen first."""

    data: list[Group]
    next: str | None


class GroupAnswer(Answer):
    """One error group."""

    success: bool
    data: Group


class Untouched(Answer):
    """A dead letter that wasn't changed, and the status that is why."""

    id: int
    status: Status


class Changed(Answer):
    """What was changed. `complete` is false when there is more than one request does: send it again."""

    changed: int
    skipped: list[Untouched]
    complete: bool


class ChangedAnswer(Answer):
    """The answer of discard and restore."""

    success: bool
    data: Changed
