"""What stands around every page: links with badges, environment, theme."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from eventconsole import conf
from eventconsole.pages import navigation

STYLESHEETS = tuple(f"css/{name}.css" for name in ("tokens", "base", "layout", "controls", "tables", "panels"))
THEMES = ("light", "dark")


def section_of(path: str) -> str:
    """The link that stands for an address: `/groups` for `/groups/x`."""
    return "/" + path.strip("/").split("/", 1)[0]


def frame(request: HttpRequest) -> dict[str, Any]:
    """The context processor of `base.html`."""
    settings = conf.current()
    theme = request.COOKIES.get("theme", "")
    return {
        "stylesheets": STYLESHEETS,
        "environment": {"name": settings.environment_name, "colour": settings.environment_colour},
        "theme": theme if theme in THEMES else "",
        # Without a query: they are as known from other pages of late, and the page's socket brings them up to date.
        **navigation.rail(section_of(request.path), navigation.badges.known()),
    }
