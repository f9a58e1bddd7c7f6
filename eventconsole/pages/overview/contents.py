"""What the overview shows, for its view and for its room: the same templates, the same words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.template.loader import render_to_string

from bus.history import Point
from bus.models import GroupState
from eventconsole.pages import charts
from eventconsole.pages.charts import Chart, Line, Range
from eventconsole.pages.groups.rows import rows_of, tone_of
from eventconsole.pages.overview import answer, checks, situation
from eventconsole.pages.overview.situation import Situation

_PALETTE = ("--chart-1", "--chart-2", "--chart-3", "--chart-4", "--chart-5", "--chart-6")
_LINES_OF_GROUPS = len(_PALETTE)

OUTCOMES = (
    Line("processed", "--green", "outcomes", "processed"),
    Line("retrying", "--amber", "outcomes", "retrying"),
    Line("failed", "--red", "outcomes", "failed"),
    Line("duplicate", "--muted", "outcomes", "duplicate"),
    Line("skipped", "--line-strong", "outcomes", "skipped"),
)
HANDLING = (
    Line("p95", "--chart-2", "handling", "p95"),
    Line("p50", "--chart-1", "handling", "p50"),
)
_SERIES = ("outcomes", "handling", "lag", "dead-letters", "workers")


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers below the sentence."""

    handled: float | None
    published: float | None
    handled_line: list[float | None]
    worst_line: list[float | None]
    letters_per_minute: float | None
    letters_line: list[float | None]
    p50: float | None
    p95: float | None
    p95_line: list[float | None]
    late: int
    gone: int
    stuck: int


def context(wanted: Range) -> dict[str, Any]:
    """The context of every part. Raises Django's DatabaseError."""
    seen = situation.gather()
    # Those with the largest lag of late, so that which of them have a line doesn't change with every sample.
    charted = sorted(seen.groups, key=_largest_lag)[:_LINES_OF_GROUPS]
    names = [f"group:{group.name}" for group in sorted(charted, key=lambda group: group.name)]
    known = charts.samples.of(wanted, [*_SERIES, *names], seen.now)
    recent = known if wanted is charts.RANGES[0] else charts.samples.of(charts.RANGES[0], _SERIES, seen.now)
    per_second = charts.latest(recent["outcomes"], "processed", seen.now)
    worst = next((group for group in seen.groups if group.time_lag_seconds), None)
    return {
        "answer": answer.answer(seen, per_second),
        "figures": _figures(seen, recent, per_second),
        "situation": seen,
        "rows": rows_of(sorted(seen.groups, key=lambda group: group.name), seen.consuming, seen.pauses),
        "worst": worst,
        "worst_tone": tone_of(worst.time_lag_seconds if worst else None),
        "room_params": {"range": wanted.name},
        "checks": checks.checks(seen),
        "charts": _charts(known, wanted, seen, names),
        "now": seen.now,
        "range": wanted,
    }


def _largest_lag(group: GroupState) -> tuple[float, str]:
    return -max([group.lag, *(lag for lag in group.sparkline if lag is not None)]), group.name


def pieces(known: Mapping[str, Any]) -> list[str]:
    """The live parts, each as its template draws it."""
    names = ("answer", "figures", "groups", "errors", "checks")
    return [render_to_string(f"console/overview/{name}.html", dict(known)) for name in names]


def _figures(seen: Situation, recent: Mapping[str, list[Point]], per_second: float | None) -> Figures:
    letters = charts.since(recent["dead-letters"], seen.now, 65)
    new = [point.values["new"] for point in letters if point.values.get("new") is not None]
    standings = [each for each in seen.standings if not each.is_gone]
    return Figures(
        handled=per_second,
        published=charts.latest(recent["outcomes"], "published", seen.now),
        handled_line=charts.sparkline(recent["outcomes"], "processed", 15, 900),
        worst_line=charts.sparkline(recent["lag"], "worstSeconds", 15, 900),
        letters_per_minute=sum(new) if new else None,
        letters_line=charts.sparkline(recent["dead-letters"], "open", 15, 900),
        p50=charts.latest(recent["handling"], "p50", seen.now),
        p95=charts.latest(recent["handling"], "p95", seen.now),
        p95_line=charts.sparkline(recent["handling"], "p95", 15, 900),
        late=sum(each.state == "late" for each in standings),
        gone=sum(each.is_gone for each in seen.standings),
        stuck=sum(each.stuck for each in standings),
    )


def _charts(known: Mapping[str, list[Point]], wanted: Range, seen: Situation, names: list[str]) -> list[Chart]:
    lag_lines = [Line(name.removeprefix("group:"), _PALETTE[index], name, "lag") for index, name in enumerate(names)]
    now = seen.now
    nothing = "Nothing was recorded in this time. Charts begin once a monitor runs and events are handled."
    charted = [
        charts.chart("chart-outcomes", "Outcomes per second", OUTCOMES, known, wanted, now, unit="/s", stacked=True),
        charts.chart("chart-handling", "Handling time", HANDLING, known, wanted, now, kind="ms"),
        charts.chart("chart-lag", "Lag per group, in events", lag_lines, known, wanted, now),
    ]
    return [replace(each, empty=nothing) for each in charted]
