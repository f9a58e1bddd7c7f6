"""What of the replay pages moves: sentence, progress, plan and items of one; what runs of all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from django.template.loader import render_to_string
from pydantic import BaseModel, ConfigDict, StringConstraints

from bus import audit
from bus.models import Replay
from eventconsole.live import rooms
from eventconsole.live.rooms import Content, Room
from eventconsole.models import Scope
from eventconsole.pages.replays.operation import operation_of
from eventconsole.pages.replays.views import active_operations, items_of, summary_of

Number = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}$")]
Pieces = Annotated[str, StringConstraints(max_length=20)]


class ReplayParams(BaseModel):
    """Which replay, and which of its dead letters the page lists."""

    model_config = ConfigDict(extra="forbid")

    id: Number
    state: Pieces = ""
    cursor: Annotated[str, StringConstraints(pattern=r"^[0-9]{0,18}$")] = ""


def render_replay(params: Mapping[str, str], scopes: Collection[str]) -> Content:
    """All but the plan, which stands still until somebody starts it: then the page is another one."""
    replay = Replay.objects.filter(pk=int(params["id"])).first()
    if replay is None:
        return Content()
    state, cursor = params["state"], params["cursor"]
    context: dict[str, Any] = {
        "op": operation_of(replay, datetime.now(UTC)),
        "can_replay": Scope.REPLAY in scopes,
        "entries": audit.of_replay(replay.pk),
        "items": items_of(replay, state, int(cursor) if cursor else None),
    }
    names = ["answer", "how", "items"]
    if replay.state != Replay.State.PLANNED:
        names.append("progress")
    html = [render_to_string(f"console/replays/{name}.html", context) for name in names]
    return Content(html=html, data={"state": replay.state})


class ReplaysParams(BaseModel):
    """The page has none."""

    model_config = ConfigDict(extra="forbid")


def render_replays(params: Mapping[str, str], scopes: Collection[str]) -> Content:
    """What runs or waits for somebody."""
    active = active_operations(datetime.now(UTC))
    context = {"active": active, "summary": summary_of(active), "can_replay": Scope.REPLAY in scopes}
    return Content(html=render_to_string("console/replays/active.html", context))


rooms.add(Room("replay", scope=Scope.READ, seconds=1.0, render=render_replay, params=ReplayParams, by_scopes=True))
rooms.add(Room("replays", scope=Scope.READ, seconds=1.0, render=render_replays, params=ReplaysParams, by_scopes=True))
