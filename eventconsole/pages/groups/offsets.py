"""Reset the offsets of a group: what for, a plan with before and after, and only then the button that does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from eventconsole.live import rooms
from eventconsole.live.rooms import Content, Room
from eventconsole.models import Scope
from eventconsole.pages import charts
from eventconsole.pages.access import needs
from eventconsole.pages.groups import detail


@needs(Scope.READ)
def page(request: HttpRequest, name: str) -> HttpResponse:
    """The page."""
    known = _context(name)
    return detail.unknown(request, name) if known is None else render(request, "console/groups/offsets.html", known)


def _context(name: str) -> dict[str, Any] | None:
    known = detail.context(name, charts.RANGES[0])
    if known is None:
        return None
    group = known["group"]
    alive = [each for each in known["standings"] if not each.is_gone]
    members = [f"{each.worker.worker} on {each.worker.host}" for each in alive]
    if not members and group is not None:
        members = [f"{each.get('client') or each['id']} on {each['host']}" for each in group.member_details]
    topics = known["topics"] or (group.topics if group else [])
    is_embedded = bool(known["cluster"] and known["cluster"].is_embedded)
    names = {"name": name}
    return {**known, "name_params": names, "members": members, "reset_topics": topics, "is_embedded": is_embedded}


def render_room(params: Mapping[str, str]) -> Content:
    """Who is in the group: only one without members can be reset."""
    known = _context(params["name"])
    return Content() if known is None else Content(html=render_to_string("console/groups/reset_state.html", known))


rooms.add(Room("group-members", scope=Scope.READ, seconds=1.0, render=render_room, params=detail.NameParams))
