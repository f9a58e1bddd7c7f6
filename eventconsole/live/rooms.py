"""Rooms: the live parts of pages. Each page registers its own:

    rooms.add(Room("overview", scope=Scope.READ, seconds=1.0, render=render_overview))

`render` runs on a thread, once per (room, parameters) and tick however many sockets joined, and only what changed is
sent. It gives whole elements with ids, the same that the page's view gave at first:

    def render_overview(params: Mapping[str, str]) -> Content:
        return Content(html=[render_to_string("console/_answer.html", …), render_to_string("console/_tiles.html", …)])

Each item of `html` is compared and sent by itself, so a number that changes each second needn't take a table along.
What a room shows may rest on nobody in particular: everybody in it sees the same. One whose buttons depend on what the
viewer may do says `by_scopes=True`; then `render` gets the viewer's scopes as its second argument, and runs once for
each set of them.

A room about a few events needn't wait for its next turn: `wakes(params, transition)` says which transitions concern it,
and it is rendered when one comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bus.activity import Transition
from bus.errors import ConfigurationError
from eventconsole.models import Scope

MIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Content:
    """What a room shows. `html` is one or several pieces of whole elements with ids; `data` anything JSON can say."""

    html: str | Sequence[str] = ()
    data: Any = None

    @property
    def pieces(self) -> tuple[str, ...]:
        """The pieces of `html` that say something."""
        pieces = (self.html,) if isinstance(self.html, str) else tuple(self.html)
        # Not a SafeString and the like: what is compared and sent is text.
        return tuple(str(piece) for piece in pieces if piece.strip())


class NoParams(BaseModel):
    """The parameters of a room that has none."""

    model_config = ConfigDict(extra="forbid")


class ParamsProblem(ValueError):  # noqa: N818 -- shown to the one who joined, as a problem
    """A room's parameters aren't good. The message names what is wrong and what is allowed."""


@dataclass(frozen=True, slots=True)
class Room:
    """A live part of a page.

    `params` is the model of its parameters, which come as strings; `render` gets them validated, as strings, without
    those that are None. `seconds` lie between two renderings, more if they take long.
    """

    name: str
    scope: Scope
    seconds: float
    render: Callable[..., Content]
    params: type[BaseModel] = NoParams
    by_scopes: bool = False
    wakes: Callable[[Mapping[str, str], Transition], bool] | None = None

    def validated(self, given: Mapping[str, str]) -> dict[str, str]:
        """The parameters. Raises ParamsProblem."""
        return validated(self.params, given)


def validated(model: type[BaseModel], given: Mapping[str, str]) -> dict[str, str]:
    """Parameters by their model, None left out. Raises ParamsProblem that names the first one that isn't good."""
    try:
        values = model.model_validate(dict(given)).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:120] or "params"
        allowed = ", ".join(model.model_fields) or "none"
        if first["type"] == "extra_forbidden":
            raise ParamsProblem(f"params.{place}: there is no such parameter, allowed are: {allowed}") from None
        raise ParamsProblem(f"params.{place}: {first['msg'].removeprefix('Value error, '):.800}") from None
    return {name: value if isinstance(value, str) else str(value) for name, value in values.items()}


_rooms: dict[str, Room] = {}


def add(room: Room) -> Room:
    """Make a room known. Raises ConfigurationError when its name is taken, or it would render too often."""
    if room.name in _rooms or room.name == TAIL:
        raise ConfigurationError(f"there is a room {room.name!r} already; each needs a name of its own")
    if room.seconds < MIN_SECONDS:
        raise ConfigurationError(f"room {room.name!r}: {room.seconds:g} s given, allowed are {MIN_SECONDS:g} and more")
    _rooms[room.name] = room
    return room


def find(name: str) -> Room | None:
    """The room of that name."""
    return _rooms.get(name)


def names() -> list[str]:
    """The names of all rooms, that of the tail included."""
    return sorted([*_rooms, TAIL])


#: The room of rows (see `eventconsole.live.tail`): the only one that differs from viewer to viewer.
TAIL = "events"
