"""Workers: which processes handle events, what each has in hand, and which of them need somebody."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import path

from bus import conf
from eventconsole.live import rooms
from eventconsole.live.rooms import Content, Room
from eventconsole.models import Scope
from eventconsole.pages import sight
from eventconsole.pages.access import needs
from eventconsole.pages.listing import export, wants_export
from eventconsole.pages.workers import standing
from eventconsole.pages.workers.answer import answer
from eventconsole.pages.workers.standing import Standing


@needs(Scope.READ)
def page(request: HttpRequest) -> HttpResponse:
    """The page."""
    known = context()
    if kind := wants_export(request):
        return export(kind, "workers", _documents(known["standings"]))
    return render(request, "console/workers/page.html", known)


def context() -> dict[str, Any]:
    """The context of the live parts. Asks Redis alone."""
    seen = sight.redis.see()
    heard_at = seen.at if seen.is_away and seen.at else time.time()
    workers = seen.value.workers if seen.value else ()
    standings = standing.all_of(workers, heard_at, conf.current())
    return {
        "standings": standings,
        "versions": standing.versions(standings),
        "seen": seen,
        "heard_at": heard_at * 1000,
        "answer": answer(standings, seen.error, known=seen.value is not None),
    }


def _documents(standings: list[Standing]) -> Iterator[dict[str, Any]]:
    for each in standings:
        for group in each.worker.groups:
            yield {
                "worker": each.worker.worker,
                "state": each.state,
                "host": each.worker.host,
                "pid": each.worker.pid,
                "version": each.worker.version,
                "group": group.group,
                "partitions": sorted(group.partitions),
                "handledPerSecond": group.rate,
                "inFlight": group.in_flight,
                "oldestSeconds": group.oldest_seconds,
                "oldestEvent": group.oldest_event,
                "stuck": group.stuck,
                "startedAt": _iso(each.worker.started_at),
                "seenAt": _iso(each.worker.seen_at),
            }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def render_room(params: Mapping[str, str]) -> Content:
    """All that is live of the page."""
    known = context()
    return Content(html=[render_to_string(f"console/workers/{name}.html", known) for name in ("answer", "list")])


rooms.add(Room("workers", scope=Scope.READ, seconds=1.0, render=render_room))

urlpatterns = [path("workers", page, name="workers")]
