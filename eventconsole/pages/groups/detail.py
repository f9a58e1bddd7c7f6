"""One consumer group: how far behind, for how long, why, until when; partitions, members, handlers, dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from pydantic import BaseModel, ConfigDict, StringConstraints

from bus import catalog, conf, handlers
from bus.handlers import Handler
from bus.history import Point
from bus.models import ClusterState, ErrorGroup, ErrorGroupPlace, GroupState
from bus.presence import WorkerPresence
from eventconsole import addresses
from eventconsole.live import rooms
from eventconsole.live.rooms import Content, Room
from eventconsole.models import Scope
from eventconsole.pages import charts, pauses, sight
from eventconsole.pages.access import needs, problem
from eventconsole.pages.charts import Chart, Line, Range
from eventconsole.pages.groups.rows import Row, rows_of, tone_of
from eventconsole.pages.pauses import Pause
from eventconsole.pages.workers import standing
from eventconsole.pages.workers.standing import Standing
from eventconsole.templatetags.console import counted, seconds

MOST_PARTITIONS: Final = 500
_ERRORS: Final = 6
WHY: Final = {
    "paused": "paused",
    "redis": "Redis is away",
    "dead-letter": "a dead letter can't be written",
    "stuck": "a handler doesn't come back",
    "slow": "slow handler",
    "retry": "retry",
    "outage": "outage",
    "elsewhere": "another worker had it",
    "window": "window is full",
    "no-worker": "no worker",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One partition of the table, from a row of `GroupState.partitions`."""

    known: Mapping[str, Any]

    @property
    def name(self) -> str:
        """`topic[partition]`."""
        return f"{self.known['topic']}[{self.known['partition']}]"

    @property
    def topic_url(self) -> str:
        """Where its topic is."""
        return addresses.topic_url(self.known["topic"])

    @property
    def tone(self) -> str:
        """The colour of its time lag."""
        return tone_of(self.known.get("timeLag"))

    @property
    def waits(self) -> Mapping[str, Any] | None:
        """Why it waits: words, detail, until when, and the event's page."""
        found = self.known.get("waits")
        if not found:
            return None
        event = found.get("eventId") or ""
        return {
            **found,
            "words": WHY.get(found["why"], found["why"]),
            "url": addresses.event_url(event) if event else "",
        }


@dataclass(frozen=True, slots=True)
class Paused:
    """A pause, and how many of the group's workers say that they obey it."""

    pause: Pause
    obeying: int
    workers: int

    @property
    def is_confirmed(self) -> bool:
        """Whether all of them do."""
        return self.obeying >= self.workers


@needs(Scope.READ)
def page(request: HttpRequest, name: str) -> HttpResponse:
    """The page."""
    known = context(name, charts.range_of(request.GET.get("range")))
    if known is None:
        return unknown(request, name)
    known |= {"ranges": charts.RANGES, "handlers": _handlers(name), "user": request.user}
    return render(request, "console/groups/group.html", known)


def unknown(request: HttpRequest, name: str) -> HttpResponse:
    """404, and why a group may not be there."""
    return problem(
        request,
        404,
        "Consumer group",
        f"No consumer group “{name[:200]}” has been seen.",
        "The monitor looks every few seconds. A group is there once it is in the catalog or has a commit in Kafka.",
        ("/groups", "All consumer groups"),
    )


def context(name: str, wanted: Range) -> dict[str, Any] | None:
    """The context of every live part; None when there is no such group."""
    group = GroupState.objects.filter(name=name).first()
    is_ours = name in {*catalog.groups(), *handlers.registry.groups()}
    if group is None and not is_ours:
        return None
    now = datetime.now(UTC)
    standings = _standings(name, now)
    paused = _paused(name, [each.worker for each in standings if not each.is_gone])
    row = rows_of([group], handlers.registry.groups(), [each.pause for each in paused])[0] if group else None
    known = charts.samples.of(wanted, [f"group:{name}"], now) if is_ours else {}
    return {
        "name": name,
        "group": group,
        "row": row,
        "is_ours": is_ours,
        "is_consumed": name in handlers.registry.groups(),
        "answer": _answer(name, group, row, is_ours),
        "paused": paused,
        "is_paused": any(not each.pause.topic for each in paused),
        "paused_topics": {each.pause.topic for each in paused if each.pause.topic},
        "topics": sorted(handlers.registry.for_group(name)),
        "standings": standings,
        "redis_away": sight.redis.see().error,
        "parts": _parts(group),
        "most": MOST_PARTITIONS,
        "cluster": ClusterState.objects.first(),
        "charts": _charts(name, known, wanted, now) if is_ours else [],
        "range": wanted,
        "room_params": {"name": name, "range": wanted.name},
        "offsets_url": f"{addresses.group_url(name)}/offsets",
        "api": f"/api/groups/{quote(name, safe='')}",
        **_letters(name),
    }


PIECES: Final = ("actions", "answer", "facts", "paused", "partitions", "members", "letters")


def pieces(known: Mapping[str, Any]) -> list[str]:
    """The live parts, each as its template draws it."""
    return [render_to_string(f"console/groups/{piece}.html", dict(known)) for piece in PIECES]


def _answer(name: str, group: GroupState | None, row: Row | None, is_ours: bool) -> dict[str, str]:
    """The sentence on top."""
    if group is None or row is None:
        return {"tone": "", "text": f"{name} hasn't been looked at yet: the monitor does that every few seconds."}
    if group.error:
        return {"tone": "warn", "text": f"It can't be sampled: {group.error}"}
    if row.unseen_seconds:
        ago = seconds(row.unseen_seconds)
        text = f"Nobody has looked at it for {ago}, and what you see is as old: does the monitor run and reach Kafka?"
        return {"tone": "warn", "text": text}
    if not group.lag:
        return {"tone": "good" if row.state[0] == "good" else "warn", "text": _without_lag(row, is_ours)}
    parts = [f"lag {counted(group.lag, 'event')}"]
    if group.time_lag_seconds is not None:
        parts.append(f"{seconds(group.time_lag_seconds)} behind")
    if group.drain_seconds:
        parts.append(f"drains in about {seconds(group.drain_seconds)}")
    elif group.trend == GroupState.Trend.GROWING and not row.pauses:
        parts.append("grows, so it won't catch up as it goes now")
    tone = {"": "good", "amber": "warn", "red": "bad"}[row.tone]
    if row.state[0] == "failed":
        tone = "bad"
    elif row.state[0] in ("paused", "warn") and tone == "good":
        tone = "warn"
    return {"tone": tone, "text": " · ".join(parts), "why": group.reason}


def _without_lag(row: Row, is_ours: bool) -> str:
    group = row.group
    if row.pauses:
        return "Nothing waits, and it is paused." if any(not each.topic for each in row.pauses) else "Nothing waits."
    if row.state[1] == "no worker":
        return "Nothing waits, but no worker of it runs: what is published now will wait."
    if not is_ours and group.members == 0:
        return "Nothing waits. Nobody is in the group just now."
    return f"Nothing waits: {_rate(group.rate)} events/s are handled."


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")


def _standings(name: str, now: datetime) -> list[Standing]:
    seen = sight.redis.see()
    heard_at = seen.at if seen.is_away and seen.at else now.timestamp()
    serving = [
        worker for worker in (seen.value.workers if seen.value else ()) if any(g.group == name for g in worker.groups)
    ]
    return standing.all_of(serving, heard_at, conf.current())


def _paused(name: str, workers: list[WorkerPresence]) -> list[Paused]:
    found = []
    for pause in pauses.all_pauses(name):
        obeying = sum(pauses.obeys(worker, name, pause.topic) for worker in workers)
        found.append(Paused(pause, obeying, len(workers)))
    return found


def _parts(group: GroupState | None) -> list[Part]:
    """By topic and partition; of very many those with the largest lag."""
    parts = list(group.partitions) if group else []
    if len(parts) > MOST_PARTITIONS:
        parts = sorted(parts, key=lambda part: -part["lag"])[:MOST_PARTITIONS]
    return [Part(part) for part in sorted(parts, key=lambda part: (part["topic"], part["partition"]))]


def _handlers(name: str) -> list[tuple[Handler, list[str]]]:
    """Each handler of the group with its topics."""
    by_handler: dict[int, tuple[Handler, list[str]]] = {}
    for topic, handler in sorted(handlers.registry.for_group(name).items()):
        by_handler.setdefault(id(handler), (handler, []))[1].append(topic)
    return list(by_handler.values())


def _letters(name: str) -> dict[str, Any]:
    """Open dead letters of the group: how many, and their kinds, the most frequent first."""
    places = ErrorGroupPlace.objects.filter(group=name, open__gt=0)
    found = list(places.order_by("-open", "fingerprint")[:_ERRORS])
    groups = ErrorGroup.objects.in_bulk([place.fingerprint for place in found])
    errors = [
        {
            "title": ": ".join(part for part in (group.error_type, group.message) if part) or "without a name",
            "url": addresses.dead_letters_url(fingerprint=place.fingerprint, group=name),
            "place": place,
            "group": group,
        }
        for place in found
        if (group := groups.get(place.fingerprint)) is not None
    ]
    return {
        "errors": errors,
        "open_letters": places.aggregate(open=Sum("open"))["open"] or 0,
        "letters_url": addresses.dead_letters_url(group=name),
    }


def _charts(name: str, known: Mapping[str, list[Point]], wanted: Range, now: datetime) -> list[Chart]:
    series = f"group:{name}"
    lag = [Line("lag", "--chart-1", series, "lag")]
    time_lag = [Line("time lag", "--chart-3", series, "timeLag")]
    done = [
        Line("processed", "--green", series, "processed"),
        Line("retrying", "--amber", series, "retrying"),
        Line("failed", "--red", series, "failed"),
    ]
    took = [
        Line("p95", "--chart-2", series, "p95"),
        Line("p50", "--chart-1", series, "p50"),
    ]
    return [
        charts.chart("chart-lag", "Lag in events", lag, known, wanted, now),
        charts.chart("chart-time-lag", "Time lag", time_lag, known, wanted, now, kind="seconds"),
        charts.chart("chart-done", "Outcomes per second", done, known, wanted, now, unit="/s", stacked=True),
        charts.chart("chart-took", "Handling time", took, known, wanted, now, kind="ms"),
    ]


class NameParams(BaseModel):
    """Which group."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(min_length=1, max_length=249)]


class Params(NameParams):
    """Which group, and the range of its charts."""

    range: Literal["15m", "1h", "6h", "24h"] = "15m"


class _Viewer:
    """Somebody with these scopes, for templates that ask what may be done."""

    def __init__(self, scopes: frozenset[str]) -> None:
        self._scopes = {f"eventconsole.{scope}" for scope in scopes}

    def has_perm(self, name: str) -> bool:
        return name in self._scopes


def render_room(params: Mapping[str, str], scopes: frozenset[str]) -> Content:
    """All that is live of the page."""
    known = context(params["name"], charts.range_of(params.get("range")))
    if known is None:
        return Content()
    return Content(html=pieces({**known, "user": _Viewer(scopes)}), data=charts.data(known["charts"]))


rooms.add(Room("group", scope=Scope.READ, seconds=1.0, render=render_room, params=Params, by_scopes=True))
