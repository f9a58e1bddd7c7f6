"""A page with a room that shows what a file says, as a test wants it, and the tail."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import include, path
from django.utils.html import format_html
from pydantic import BaseModel

from bus.errors import LedgerUnavailableError
from eventconsole.live import rooms
from eventconsole.live.rooms import Content, Room
from eventconsole.models import Scope

_PAGE = """{% extends "base.html" %}{% block title %}Live{% endblock %}{% block content %}
<section data-room="shelf" data-room-params='{"of": "books"}'>
<p id="number">at first</p>
<div data-hold><div id="list"><a id="link" href="#">at first</a></div></div>
</section>
<section data-room="events" data-room-params='{"filter": "topic:order.*"}'></section>
<div id="elsewhere"></div>
{% endblock %}"""


class ShelfParams(BaseModel):
    of: str


def render(params: Mapping[str, str]) -> Content:
    """The text of the file; `away` fails."""
    text = Path(os.environ["LIVE_TEST_FILE"]).read_text()
    if text == "away":
        raise LedgerUnavailableError("Redis is away")
    label = f"{params['of']} {text}"
    number = format_html('<p id="number">{}</p>', label)
    listed = format_html(
        '<div id="list"><a id="link" href="#">{}</a><details id="more"><summary>more</summary>{}</details></div>',
        label,
        label,
    )
    return Content(html=[number, listed], data={"text": label})


rooms.add(Room("shelf", Scope.READ, 0.1, render, ShelfParams))


def page(request: HttpRequest) -> HttpResponse:
    """The page."""
    return HttpResponse(engines["django"].from_string(_PAGE).render({}, request))


urlpatterns = [path("live-test", page), path("", include("eventconsole.urls"))]
