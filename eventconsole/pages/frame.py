"""What stands around every page: links with badges, environment, theme."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.http import HttpRequest

from eventconsole import conf

STYLESHEETS = tuple(f"css/{name}.css" for name in ("tokens", "base", "layout", "controls", "tables", "panels"))
THEMES = ("light", "dark")


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the rail; `badge` is the number that says whether to go there, `meaning` what it counts."""

    url: str
    label: str
    icon: str
    badge: str = ""
    tone: str = ""
    meaning: str = ""


LINKS = (
    Link("/", "Overview", "overview"),
    Link("/events", "Events", "events"),
    Link("/groups", "Consumer groups", "groups"),
    Link("/dead-letters", "Dead letters", "dead-letters"),
    Link("/replays", "Replays", "replays"),
    Link("/topics", "Topics", "topics"),
    Link("/workers", "Workers", "workers"),
    Link("/publish", "Publish", "publish"),
    Link("/audit", "Audit", "audit"),
)


def section_of(path: str) -> str:
    """The link that stands for an address: `/groups` for `/groups/x`."""
    return "/" + path.strip("/").split("/", 1)[0]


def with_badges(badges: dict[str, Link]) -> list[Link]:
    """The links, each with its badge when it has one (by address)."""
    return [
        replace(link, badge=found.badge, tone=found.tone, meaning=found.meaning)
        if (found := badges.get(link.url))
        else link
        for link in LINKS
    ]


def frame(request: HttpRequest) -> dict[str, Any]:
    """The context processor of `base.html`."""
    settings = conf.current()
    theme = request.COOKIES.get("theme", "")
    return {
        "stylesheets": STYLESHEETS,
        "environment": {"name": settings.environment_name, "colour": settings.environment_colour},
        "theme": theme if theme in THEMES else "",
        "links": LINKS,
        "current_section": section_of(request.path),
    }
