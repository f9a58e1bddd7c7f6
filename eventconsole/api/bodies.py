"""What requests and answers look like."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SkipValidation, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from bus.envelope import MAX_EVENT_ID, MAX_KEY_BYTES, MAX_LABEL

# Line breaks and other control characters would tear headers and log lines apart.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _label(value: str) -> str:
    if found := _CONTROL.search(value):
        raise PydanticCustomError(
            "label", "holds {what}; allowed is text without line breaks", {"what": ascii(found[0])}
        )
    return value


def event_id(value: str) -> str:
    """An eventId. Raises PydanticCustomError for one that isn't 1 to 128 printable characters."""
    if not (0 < len(value) <= MAX_EVENT_ID and value.isprintable()):
        raise PydanticCustomError("event_id", f"allowed are 1 to {MAX_EVENT_ID} printable characters")
    return value


def _key(value: str) -> str:
    if len(value.encode()) > MAX_KEY_BYTES:
        raise PydanticCustomError(
            "key", "{length} bytes given, allowed are {limit}", {"length": len(value.encode()), "limit": MAX_KEY_BYTES}
        )
    return value


Label = Annotated[str, Field(max_length=MAX_LABEL), AfterValidator(_label)]
EventId = Annotated[str, AfterValidator(event_id)]


class Body(BaseModel):
    """A request body: nothing is converted, and unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_fields(cls, value: Any) -> Any:
        # pydantic would refuse them too, without saying what is allowed.
        if isinstance(value, dict):
            allowed = [field.alias for field in cls.model_fields.values()]
            for name in value:
                if name not in allowed:
                    raise PydanticCustomError(
                        "unknown_field",
                        "unknown field; allowed are {allowed}",
                        {"allowed": ", ".join(map(str, allowed)), "unknown": str(name)[:80]},
                    )
        return value


class NewEvent(Body):
    """An event to publish."""

    data: dict[str, Any] = Field(description="What happened. Any JSON object; a topic may have a model of its own.")
    key: Annotated[str, AfterValidator(_key)] | None = Field(
        None, description="Partition key: events with the same key stay in order."
    )
    event_id: EventId | None = Field(
        None,
        description="An id of yours, so that sending again publishes once. Without it one is made up.",
    )
    priority: Literal["critical", "high", "normal", "low"] | None = Field(None, description="normal by default")
    source: Label | None = Field(None, description="The service that the event comes from.")
    correlation_id: Label | None = Field(None, description="What belongs together, such as a request id.")
    user_id: Label | None = Field(None, description="The user on whose behalf it happened.")
    version: Annotated[Label, Field(min_length=1)] | None = Field(
        None, description="Version of the data's format; 1.0.0 by default"
    )


class PublishRequest(NewEvent):
    """The body of publish."""

    topic: str = Field(description="A topic of the catalog.", examples=["order.created"])


class PublishBatchRequest(Body):
    """The body of publish-batch."""

    topic: str = Field(description="A topic of the catalog.", examples=["inventory.updated"])
    # Each is checked on its own, so that a wrong one doesn't hold up the others.
    events: list[SkipValidation[NewEvent]] = Field(min_length=1)


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(alias_generator=to_camel)


class PublishedEvent(Answer):
    """Where an event went."""

    event_id: str
    topic: str
    partition: int
    offset: int
    duplicate: bool = Field(description="Whether it had been published before; it wasn't published again.")


class PublishAnswer(Answer):
    """The answer of publish."""

    success: bool
    message: str = Field(examples=["Event published successfully"])
    data: PublishedEvent


class ProblemDocument(Answer):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    success: bool = False
    field: str | None = Field(None, description="JSON path of the first wrong field")
    errors: list[dict[str, str]] | None = Field(None, description="Every wrong field, twenty at most")
    event_id: str | None = Field(None, description="Send the event again with this eventId")


class BatchResult(Answer):
    """What became of one event of a batch."""

    index: int
    success: bool
    event_id: str | None
    topic: str
    partition: int | None = None
    offset: int | None = None
    duplicate: bool = False
    error: ProblemDocument | None = None


class BatchSummary(Answer):
    """What became of a batch, in the order it was sent."""

    published: int
    failed: int
    results: list[BatchResult]


class PublishBatchAnswer(Answer):
    """The answer of publish-batch."""

    success: bool
    message: str = Field(examples=["Batch published successfully (2 events)"])
    data: BatchSummary


class Processed(Answer):
    """Whether every group that handles the event's topic has handled it."""

    event_id: str
    processed: bool


class ProcessedAnswer(Answer):
    """The answer of processed."""

    success: bool
    data: Processed


class Published(Answer):
    """Where, when and by whom an event was published."""

    topic: str
    partition: int
    offset: int
    at: str
    by: str


class Attempt(Answer):
    """One run of a group's handler; `duration` in seconds."""

    at: str
    worker: str
    duration: float
    error: str | None


class GroupAnswer(Answer):
    """What became of an event in one group."""

    group: str
    status: Literal["PENDING", "PROCESSING", "RETRYING", "PROCESSED", "FAILED"]
    attempts: list[Attempt]
    next_retry_at: str | None


class EventState(Answer):
    """What became of an event."""

    event_id: str
    status: Literal["PENDING", "PROCESSING", "RETRYING", "PROCESSED", "FAILED"]
    published: Published | None
    groups: list[GroupAnswer]


class EventAnswer(Answer):
    """The answer about one event."""

    success: bool
    data: EventState


class Dependency(Answer):
    """What a probe found."""

    status: Literal["up", "down"]
    needed: bool
    latency_ms: float | None
    error: str | None


class Health(Answer):
    """How the service is; `dependencies` only for a token or a login."""

    status: Literal["ok", "degraded", "down"]
    service: str = Field(examples=["event-service"])
    timestamp: str
    dependencies: dict[str, Dependency] | None = None
