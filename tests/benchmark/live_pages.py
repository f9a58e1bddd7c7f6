"""A room like the overview: two questions to the database, and some pieces of which a few change each time."""

from __future__ import annotations

import time
from collections.abc import Mapping

from django.contrib.auth.models import Permission, User
from django.urls import include, path
from django.utils.html import format_html, format_html_join

from eventconsole.live import rooms
from eventconsole.live.rooms import Content, Room
from eventconsole.models import Scope


def render(params: Mapping[str, str]) -> Content:
    """What it shows says when it was asked for, in ms since 1970."""
    at_ms = int(time.time() * 1000)
    people = User.objects.count()
    rows = ((f"row-{permission.pk}", permission.name) for permission in Permission.objects.all()[:100])
    table = format_html('<table id="table">{}</table>', format_html_join("", "<tr><td>{}</td><td>{}</td></tr>", rows))
    tiles = [format_html('<p id="tile-{}">{} {} people</p>', number, at_ms, people) for number in range(10)]
    return Content([*tiles, table], {"at": at_ms})


rooms.add(Room("benchmark", Scope.READ, 0.5, render))
urlpatterns = [path("", include("eventconsole.urls"))]
