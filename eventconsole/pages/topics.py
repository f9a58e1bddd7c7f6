"""Topics: the catalog and what else the cluster has, and a look into each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from bus import catalog
from bus.deadletterindex.pages import CursorError
from bus.deadletterindex.summaries import open_counts
from bus.handlers import registry
from bus.lag.pages import MAX_PAGE, TopicSort, topic_page
from bus.models import ClusterState, TopicState
from bus.schemas.base import example
from eventconsole.models import Scope
from eventconsole.pages import charts
from eventconsole.pages.access import needs, problem
from eventconsole.pages.listing import PAGE_ROWS, columns, export, sort_of, wants_export

KINDS: Final = {
    "events": "Events",
    "dead-letters": "Dead letters",
    "replay": "Replay",
    "foreign": "Of others",
}


@needs(Scope.READ)
def topics(request: HttpRequest) -> HttpResponse:
    """The topics of one kind, a page of them."""
    kind = request.GET.get("kind", "events")
    kind = kind if kind in KINDS else "events"
    sort = sort_of(request, [each.value for each in TopicSort], "name")
    q = request.GET.get("q", "")[:200]
    dead = open_counts().by_topic
    if wanted := wants_export(request):
        return export(wanted, "topics", _exported(kind, q, dead))
    page, note = _page(request, kind, q, sort.name, sort.descending)
    heads = columns(
        sort,
        ("Topic", "name"),
        ("Records", "records", "number"),
        ("Written/s", "rate", "number"),
        ("Last hour", ""),
        ("Kept", "", "number"),
        ("Consumers", ""),
        ("Open dead letters", "", "number"),
    )
    context = {
        "kind": kind,
        "kinds": KINDS,
        "q": q,
        "rows": [_row(topic, dead) for topic in page.rows],
        "next": page.next,
        "columns": heads,
        "note": note,
        "cluster": ClusterState.objects.first(),
        "as_of": max((topic.sampled_at for topic in page.rows), default=None),
    }
    return render(request, "console/topics/topics.html", context)


@needs(Scope.READ)
def topic(request: HttpRequest, name: str) -> HttpResponse:
    """One topic; its records are fetched by the browser, look by look."""
    state = TopicState.objects.filter(name=name).first()
    known = catalog.topic(name)
    if state is None and known is None:
        return problem(
            request,
            404,
            "No such topic",
            f"Neither the catalog nor Kafka has a topic {name[:200]}, as far as the monitor has looked.",
            "A new topic is seen within a minute. Names are case-sensitive.",
            ("/topics", "All topics"),
        )
    source = catalog.topic(name.removesuffix(catalog.DEAD_LETTER_SUFFIX))
    model = source.model if source else None
    shown = example(model)
    now = datetime.now(UTC)
    context = {
        "name": name,
        "state": state,
        "known": known,
        "kind": state.kind if state else "events",
        "consumers": _consumers(name, state),
        "schema": orjson.dumps(model.model_json_schema(), option=orjson.OPT_INDENT_2).decode() if model else "",
        "example": orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode() if shown is not None else "",
        "dead": open_counts().by_topic.get(name, 0),
        "dlq": catalog.dead_letter_topic(name) if known else "",
        "start": request.GET.get("at") or request.GET.get("start") or "newest",
        "partition": request.GET.get("partition", ""),
        "text": request.GET.get("q", "")[:200],
        "chart": _chart(name, now),
        "cluster": ClusterState.objects.first(),
        "is_embedded": bool((cluster := ClusterState.objects.first()) and cluster.is_embedded),
    }
    return render(request, "console/topics/topic.html", context)


def _page(request: HttpRequest, kind: str, q: str, sort: str, descending: bool) -> tuple[Any, str]:
    def ask(cursor: str | None) -> Any:
        return topic_page([kind], PAGE_ROWS, cursor, q=q, sort=TopicSort(sort), descending=descending)

    try:
        return ask(request.GET.get("cursor") or None), ""
    except CursorError as error:
        return ask(None), f"{error}; this is the first page"


def _row(state: TopicState, dead: Mapping[str, int]) -> dict[str, Any]:
    known = catalog.topic(state.name)
    lags = [each.get("lag") or 0 for each in state.consumers]
    return {
        "state": state,
        "description": known.description if known else "",
        "has_schema": bool(known and known.model),
        "kept_seconds": state.retention_ms / 1000 if state.retention_ms and state.retention_ms > 0 else None,
        "is_for_ever": state.retention_ms == -1,
        "consumers": len(state.consumers),
        "lag": sum(lags),
        "dead": dead.get(state.name, 0),
    }


def _consumers(name: str, state: TopicState | None) -> list[dict[str, Any]]:
    """Groups that read the topic: those that were seen, and those whose handlers want it."""
    found = {each["group"]: dict(each) for each in (state.consumers if state else [])}
    for group in registry.groups_for(name):
        found.setdefault(group, {"group": group, "lag": None, "timeLag": None})
    for each in found.values():
        handler = registry.for_group(each["group"]).get(name)
        each["handler"] = handler.name if handler else ""
    return sorted(found.values(), key=lambda each: str(each["group"]))


def _chart(name: str, now: datetime) -> charts.Chart:
    wanted = charts.range_of("1h")
    line = charts.Line("published", "--chart-1", f"topic:{name}", "published")
    known = charts.samples.of(wanted, [line.series], now)
    return charts.chart(
        "topic-rate",
        "Published per second, last hour",
        [line],
        known,
        wanted,
        now,
        unit="/s",
        empty="Nothing was published in the last hour, or the monitor didn't run.",
    )


def _exported(kind: str, q: str, dead: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        page = topic_page([kind], MAX_PAGE, cursor, q=q)
        for state in page.rows:
            yield {
                "topic": state.name,
                "kind": state.kind,
                "partitions": state.partition_count,
                "records": state.records,
                "rate": state.rate,
                "retentionMs": state.retention_ms,
                "consumers": [each["group"] for each in state.consumers],
                "openDeadLetters": dead.get(state.name, 0),
                "sampledAt": state.sampled_at.isoformat(),
            }
        cursor = page.next
        if cursor is None:
            return


urlpatterns = [path("topics", topics, name="topics"), path("topics/<path:name>", topic, name="topic")]
