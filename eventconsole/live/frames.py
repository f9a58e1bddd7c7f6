"""Frames: what a page and the server say to each other over a socket, typed both ways.

    {"v": 1, "type": "join", "id": 3, "room": "overview", "params": {}}
    {"v": 1, "seq": 7, "id": 3, "type": "fragment", "asOf": 1790000000000, "room": "overview", "html": "<section …"}

`v` is the version of this page of rules. `id` is the number that the page gave its join; frames of a room carry it.
`seq` counts the frames of one socket; the page acknowledges the last one it saw. `asOf` is when what the frame says
was true, in ms since 1970.

A frame from a page that isn't one of these is answered with `refused`, which says what is wrong and what is allowed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

VERSION = 1
MAX_FRAME_BYTES = 16_384
MAX_JOIN_ID = 9_999

Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_.-]{0,59}$")]
Value = Annotated[str, StringConstraints(max_length=2000)]
JoinId = Annotated[int, Field(ge=0, le=MAX_JOIN_ID)]
Sequence = Annotated[int, Field(ge=0, le=2**53)]


class FrameProblem(ValueError):  # noqa: N818 -- shown to the one who sent it, as a problem
    """A frame from a page that can't be accepted. The message names what is wrong and what is allowed."""


class _FromPage(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    v: Literal[1]


class Join(_FromPage):
    """Show me a room. A join with the id of an earlier one takes its place.

    Rooms of rows take `since`, the last row that the page has, with the `instance` that numbered it: it gets what came
    after that. To another instance the number means nothing, and the page gets everything anew.
    """

    type: Literal["join"]
    id: JoinId
    room: Name
    params: Annotated[dict[Name, Value], Field(max_length=20)] = {}
    since: Sequence | None = None
    instance: Annotated[str, StringConstraints(max_length=64)] | None = None


class Leave(_FromPage):
    """Show me that no longer."""

    type: Literal["leave"]
    id: JoinId


class Ack(_FromPage):
    """I have seen everything up to here."""

    type: Literal["ack"]
    seq: Sequence


PageFrame = Annotated[Join | Leave | Ack, Field(discriminator="type")]
_page_frames: TypeAdapter[Join | Leave | Ack] = TypeAdapter(PageFrame)


def read(text: str | None) -> Join | Leave | Ack:
    """The frame that a page sent; None is a binary one. Raises FrameProblem."""
    if text is None:
        raise FrameProblem("a binary frame; allowed are frames of text with JSON")
    if len(text) > MAX_FRAME_BYTES:
        raise FrameProblem(f"a frame of {len(text)} characters; allowed are at most {MAX_FRAME_BYTES}")
    try:
        return _page_frames.validate_json(text)
    except ValidationError as error:
        raise FrameProblem(_problem(error)) from None


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    place = [str(part) for part in first["loc"] if part not in ("join", "leave", "ack")]
    if first["type"] == "json_invalid":
        return f"not JSON: {first['msg']:.200}"
    if first["type"].startswith("union_tag"):
        return 'type: allowed are "join", "leave" and "ack"'
    if place == ["v"]:
        return f"v: this server speaks version {VERSION}; reload the page"
    return f"{'.'.join(place)[:120]}: {first['msg']:.200}"


# -- to the page --------------------------------------------------------------------------------------------------


class _ToPage(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    as_of: int


class Hello(_ToPage):
    """The first frame. `instance` names this run of the server."""

    type: Literal["hello"] = "hello"
    instance: str
    now: int


class Fragment(_ToPage):
    """Elements, each with an id, that take the place of those with the same ids."""

    type: Literal["fragment"] = "fragment"
    room: str
    html: str


class Data(_ToPage):
    """What a module of the page draws itself."""

    type: Literal["data"] = "data"
    room: str
    data: Any


class Row(BaseModel):
    """A transition of an event, as the tail shows it. Times in ms since 1970."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    seq: int
    at: int
    outcome: str
    event_id: str
    topic: str
    group: str
    partition: int
    offset: int
    key: str | None
    priority: str
    source: str | None
    user_id: str | None
    correlation_id: str | None
    attempt: int
    duration_ms: int | None
    error: str | None
    next_retry_at: int | None
    worker: str
    generation: int


class Rows(_ToPage):
    """Rows in the order of `seq`.

    `skipped` more were wanted too, and left out because they were too many; `unseen` many weren't told by the workers,
    so nobody knows whether they were wanted. With `reset` the page forgets the rows that it has. `last` is the number
    to join with when the connection was lost.
    """

    type: Literal["rows"] = "rows"
    room: str
    rows: list[Row]
    skipped: int = 0
    unseen: int = 0
    reset: bool = False
    last: int = 0


class Clock(_ToPage):
    """Each second. `as_of` is that of the oldest thing that the page shows; `now` is the server's time.

    `every` is after how many ms the slowest of the page's rooms is looked at again: so much age is as it should be.
    """

    type: Literal["clock"] = "clock"
    now: int
    every: int = 0


class Stale(_ToPage):
    """The room can't be brought up to date; `as_of` is when what it shows was true (0: it shows nothing yet)."""

    type: Literal["stale"] = "stale"
    room: str
    problem: str


class Fresh(_ToPage):
    """The room is up to date again."""

    type: Literal["fresh"] = "fresh"
    room: str


class Refusal(StrEnum):
    """Why something is refused."""

    #: The frame isn't one of these.
    FRAME = "frame"
    #: There is no such room.
    ROOM = "room"
    #: The room's parameters aren't good.
    PARAMS = "params"
    #: A permission is missing, or was taken away.
    FORBIDDEN = "forbidden"
    #: Too many rooms.
    LIMIT = "limit"
    #: Nobody can say at the moment whether it is allowed. Join again later.
    UNAVAILABLE = "unavailable"


class Refused(_ToPage):
    """What the page asked for, or had, isn't given. `scope` is the permission that is missing."""

    type: Literal["refused"] = "refused"
    code: Refusal
    problem: str
    room: str | None = None
    scope: str | None = None


class Resync(_ToPage):
    """The page read too slowly and missed frames; those of its rooms follow anew."""

    type: Literal["resync"] = "resync"


ServerFrame = Hello | Fragment | Data | Rows | Clock | Stale | Fresh | Refused | Resync


def body(frame: ServerFrame) -> bytes:
    """The frame without what differs between sockets; made once, however many get it."""
    return frame.model_dump_json(by_alias=True).encode()


def whole(body: bytes, seq: int, join_id: int | None = None) -> str:
    """The frame as it is sent over one socket."""
    number = "" if join_id is None else f'"id":{join_id},'
    return f'{{"v":{VERSION},"seq":{seq},{number}{body[1:].decode()}'
