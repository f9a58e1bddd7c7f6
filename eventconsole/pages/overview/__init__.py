"""Overview: is all well? One sentence that says so, or names what is wrong, and what to look at next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from pydantic import BaseModel, ConfigDict

from eventconsole.live import rooms
from eventconsole.live.rooms import Content, Room
from eventconsole.models import Scope
from eventconsole.pages import charts
from eventconsole.pages.access import needs
from eventconsole.pages.overview import contents


@needs(Scope.READ)
def page(request: HttpRequest) -> HttpResponse:
    """The page."""
    known = contents.context(charts.range_of(request.GET.get("range")))
    return render(request, "console/overview/page.html", {**known, "ranges": charts.RANGES})


class Params(BaseModel):
    """The range of the charts."""

    model_config = ConfigDict(extra="forbid")

    range: Literal["15m", "1h", "6h", "24h"] = "15m"


def render_room(params: Mapping[str, str]) -> Content:
    """All that is live of the page."""
    known = contents.context(charts.range_of(params.get("range")))
    return Content(html=contents.pieces(known), data=charts.data(known["charts"]))


rooms.add(Room("overview", scope=Scope.READ, seconds=1.0, render=render_room, params=Params))

urlpatterns = [path("", page, name="overview")]
