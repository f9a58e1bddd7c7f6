"""The rail: where one can go, and the numbers that say whether to go there, live on every page.

They are looked up once a second for all who look, and never for the sake of drawing a page.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from django.db.models import Max
from django.template.loader import render_to_string
from pydantic import BaseModel, ConfigDict, StringConstraints

from bus import conf
from bus.deadletterindex.summaries import open_counts
from bus.lag.pages import GroupSort, StateFilter, group_page
from bus.models import GroupState, Replay
from bus.replay.states import ACTIVE
from eventconsole.live import rooms
from eventconsole.live.rooms import Content, Room
from eventconsole.models import Scope
from eventconsole.pages import sight
from eventconsole.pages.groups.rows import OLD_SECONDS, tone_of
from eventconsole.pages.workers import standing
from eventconsole.templatetags.console import counted, number, seconds

FRESH_SECONDS: Final = 0.9
GOOD_SECONDS: Final = 5.0
"""Pages are drawn with badges that are no older; without any when nobody has looked since."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the rail; `badge` is the number that says whether to go there, `meaning` what it counts."""

    url: str
    label: str
    icon: str
    badge: str = ""
    tone: str = ""
    meaning: str = ""


LINKS: Final = (
    Link("/", "Overview", "overview"),
    Link("/events", "Events", "events"),
    Link("/groups", "Groups", "groups"),
    Link("/dead-letters", "Dead letters", "dead-letters"),
    Link("/replays", "Replays", "replays"),
    Link("/topics", "Topics", "topics"),
    Link("/workers", "Workers", "workers"),
    Link("/publish", "Publish", "publish"),
    Link("/audit", "Audit", "audit"),
)


@dataclass(frozen=True, slots=True)
class Badge:
    """A number beside a link, its colour, and what it says in words."""

    text: str
    tone: str
    meaning: str


class Badges:
    """The badges by address, looked up at most about once a second. Raises Django's DatabaseError when it looks."""

    def __init__(self, look: Callable[[], Mapping[str, Badge]], clock: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Mapping[str, Badge] = {}
        self._at = float("-inf")

    def known(self) -> Mapping[str, Badge]:
        """What was looked up of late; asks nobody."""
        return self._found if self._clock() - self._at <= GOOD_SECONDS else {}

    def forget(self) -> None:
        """For tests: what was looked up belongs to another database."""
        with self._lock:
            self._found, self._at = {}, float("-inf")

    def fresh(self) -> Mapping[str, Badge]:
        """What is so now."""
        with self._lock:
            if self._clock() - self._at > FRESH_SECONDS:
                began = self._clock()
                self._found = self._look()
                self._at = began
            return self._found


def _look() -> dict[str, Badge]:
    found = {}
    if total := open_counts().total:
        found["/dead-letters"] = Badge(_short(total), "red", counted(total, "open dead letter"))
    if badge := _groups(datetime.now(UTC)):
        found["/groups"] = badge
    if badge := _workers():
        found["/workers"] = badge
    if running := Replay.objects.filter(state__in=ACTIVE).count():
        found["/replays"] = Badge(number(running), "", f"{counted(running, 'replay')} under way")
    return found


def _groups(now: datetime) -> Badge | None:
    """The worst time lag; a question mark while nobody samples it, because an old figure would pass for today's."""
    newest = GroupState.objects.filter(is_ours=True).aggregate(at=Max("sampled_at"))["at"]
    if newest is None:
        return None
    age = (now - newest).total_seconds()
    if age > OLD_SECONDS:
        return Badge("?", "amber", f"lag was sampled {seconds(age)} ago: does the monitor run?")
    worst = group_page(StateFilter(is_ours=True), 1, sort=GroupSort.TIME_LAG).rows[0]
    lag = worst.time_lag_seconds
    tone = tone_of(lag)
    return Badge(seconds(lag).split(" ", 2)[0] + _unit(lag), tone, f"{worst.name} is behind") if tone else None


def _workers() -> Badge | None:
    seen = sight.redis.see()
    if seen.is_away or seen.value is None:
        return None
    standings = standing.all_of(seen.value.workers, time.time(), conf.current())
    unwell = [each for each in standings if not each.is_well]
    if unwell:
        return Badge(number(len(unwell)), "red", f"{counted(len(unwell), 'worker')} late, gone or stuck")
    return None if standings else Badge("none", "red", "no worker runs")


def _short(count: int) -> str:
    return number(count) if count < 10_000 else f"{count // 1000}k"


def _unit(lag: float | None) -> str:
    left = lag or 0.0
    return " s" if left < 60 else " min" if left < 3600 else " h" if left < 172_800 else " d"


badges = Badges(_look)


def rail(section: str, known: Mapping[str, Badge]) -> dict[str, Any]:
    """The context of the rail: links with their badges, and which of them stands for this page."""
    links = [
        replace(link, badge=badge.text, tone=badge.tone, meaning=badge.meaning)
        if (badge := known.get(link.url))
        else link
        for link in LINKS
    ]
    return {"links": links, "current_section": section, "rail_params": {"section": section}}


class RailParams(BaseModel):
    """Which section the page belongs to."""

    model_config = ConfigDict(extra="forbid")

    section: Annotated[str, StringConstraints(max_length=200)]


def render_rail(params: Mapping[str, str]) -> Content:
    """The rail as it is now."""
    return Content(html=render_to_string("console/components/rail.html", rail(params["section"], badges.fresh())))


rooms.add(Room("nav", scope=Scope.READ, seconds=1.0, render=render_rail, params=RailParams))
