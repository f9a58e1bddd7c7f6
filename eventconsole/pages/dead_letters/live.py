"""What of the dead letter pages moves while somebody looks: answer, cards, running replays, the state of one.

Rows of the list stay where they are: the room tells which dead letters the list would show now, and the page says how
many are new, and which of those it shows have changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from django.template.loader import render_to_string
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from bus.deadletterindex.pages import letter_page
from bus.models import DeadLetter
from eventconsole.filters import FilterProblem
from eventconsole.live import rooms
from eventconsole.live.rooms import Content, Room
from eventconsole.models import Scope
from eventconsole.pages.dead_letters.answer import answer_of
from eventconsole.pages.dead_letters.cards import SORTS, cards_of
from eventconsole.pages.dead_letters.letter import live_context
from eventconsole.pages.dead_letters.lists import operations_beside, pending, start_of
from eventconsole.pages.dead_letters.search import now, read
from eventconsole.pages.listing import PAGE_ROWS


def _readable(text: str) -> str:
    try:
        read(text, now())
    except FilterProblem as problem:
        raise ValueError(str(problem)) from None
    return text


class ListParams(BaseModel):
    """What the page shows: its filter, and the order and number of its cards."""

    model_config = ConfigDict(extra="forbid")

    filter: Annotated[str, AfterValidator(_readable)] = ""
    sort: Annotated[str, StringConstraints(pattern=f"^({'|'.join(SORTS)})$")] = SORTS[0]
    groups: Annotated[str, StringConstraints(pattern="^[0-9]{0,6}$")] = ""


def render_list(params: Mapping[str, str], scopes: Collection[str]) -> Content:
    """Answer, replays that can be undone, operations and cards, each by itself; of the list only its ids."""
    at = now()
    search = read(params["filter"], at)
    can_replay = Scope.REPLAY in scopes
    cards = cards_of(search, at, start=start_of(params["groups"]), sort=params["sort"])
    html = [
        render_to_string("console/dead_letters/answer.html", {"answer": answer_of(at)}),
        render_to_string("console/dead_letters/pending.html", {"pending": pending(at), "can_replay": can_replay}),
    ]
    shown = {"operations": operations_beside(search, cards, at), "can_replay": can_replay}
    html.append(render_to_string("console/dead_letters/operations.html", shown))
    alone = search.fingerprint is not None
    for card in cards.shown:
        context = {"card": card, "search": search, "can_replay": can_replay, "alone": alone}
        html.append(render_to_string("console/dead_letters/card.html", context))
    listed = letter_page(search.letters, PAGE_ROWS).rows
    data = {"letters": [row.pk for row in listed], "errors": [card.group.pk for card in cards.shown]}
    return Content(html=html, data=data)


class LetterParams(BaseModel):
    """Which dead letter."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}$")]


def render_letter(params: Mapping[str, str], scopes: Collection[str]) -> Content:
    """Its state with what can be done, its generations and replays, and who did what."""
    found = DeadLetter.objects.select_related("replay").filter(pk=int(params["id"])).first()
    if found is None:
        return Content()
    context: dict[str, Any] = live_context(found, now()) | {"can_replay": Scope.REPLAY in scopes}
    names = ("heading", "state", "history")
    return Content(html=[render_to_string(f"console/dead_letters/{name}.html", context) for name in names])


rooms.add(Room("dead-letters", scope=Scope.READ, seconds=1.0, render=render_list, params=ListParams, by_scopes=True))
rooms.add(Room("dead-letter", scope=Scope.READ, seconds=1.0, render=render_letter, params=LetterParams, by_scopes=True))
