"""What Prometheus scrapes: lag, dead letters, rates, workers, and how old these figures are.

Everything is read from what the monitor has written and the workers say; a scrape never asks Kafka. Only our own groups
are told: a cluster may have ten thousand of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Final

from django.http import HttpRequest, HttpResponse
from ninja import Router
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from bus import history
from bus.deadletterindex.index import progress_of
from bus.deadletterindex.summaries import open_places
from bus.errors import LedgerUnavailableError
from bus.ledger import Ledger
from bus.models import ClusterState, GroupState
from bus.presence import Presence
from eventconsole.api.auth import caller_of, needs
from eventconsole.api.bodies import ProblemDocument
from eventconsole.api.dead_letter_views import threads
from eventconsole.api.errors import FORBIDDEN, Problem
from eventconsole.models import Scope

_SCRAPE_SECONDS: Final = 8.0

router = Router(tags=["health"])


@router.get(
    "",
    response={200: str, **dict.fromkeys((401, 403, 503), ProblemDocument)},
    auth=needs(Scope.READ),
    summary="Metrics for Prometheus",
)
async def metrics(request: HttpRequest) -> HttpResponse:
    """Gauges in Prometheus's text format. What isn't known is left out, and never reported as zero."""
    if caller_of(request).topics:
        raise Problem(FORBIDDEN, "Metrics tell of all topics, and this token may see only some: use one without topics")
    text = await threads().ask(lambda: generate_latest(_registry()), _SCRAPE_SECONDS)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)


@cache
def _registry() -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures())
    return registry


class Figures(Collector):
    """Makes the metrics anew at each scrape."""

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = datetime.now(UTC)
        yield _cluster()
        yield from _groups(now)
        yield _dead_letters()
        yield from _rates(now)
        yield from _workers()
        yield from _index(now)


def _groups(now: datetime) -> Iterator[GaugeMetricFamily]:
    lag = GaugeMetricFamily("bus_consumer_group_lag_events", "End offsets less committed offsets.", labels=["group"])
    behind = GaugeMetricFamily(
        "bus_consumer_group_time_lag_seconds", "Age of the oldest event that isn't settled.", labels=["group"]
    )
    workers = GaugeMetricFamily("bus_consumer_group_workers", "Workers of the group that are alive.", labels=["group"])
    age = GaugeMetricFamily("bus_consumer_group_sample_age_seconds", "Age of these figures.", labels=["group"])
    for state in GroupState.objects.defer(*GroupState.LONG).filter(is_ours=True).order_by("name"):
        lag.add_metric([state.name], state.lag)
        if state.time_lag_seconds is not None:
            behind.add_metric([state.name], state.time_lag_seconds)
        workers.add_metric([state.name], state.workers)
        age.add_metric([state.name], (now - state.sampled_at).total_seconds())
    yield from (lag, behind, workers, age)


def _cluster() -> GaugeMetricFamily:
    cluster = ClusterState.objects.first()
    up = GaugeMetricFamily("bus_kafka_up", "Whether the monitor reached Kafka when it last asked.")
    if cluster is not None:
        up.add_metric([], 0 if cluster.error else 1)
    return up


def _dead_letters() -> GaugeMetricFamily:
    found = GaugeMetricFamily("bus_dead_letters_open", "Dead letters still to be seen to.", labels=["topic", "group"])
    for topic, group, count in open_places():
        found.add_metric([topic, group], count)
    return found


def _rates(now: datetime) -> Iterator[GaugeMetricFamily]:
    outcomes = GaugeMetricFamily("bus_events_per_second", "Events by what became of them.", labels=["outcome"])
    handling = GaugeMetricFamily("bus_handler_seconds", "How long handlers took.", labels=["quantile"])
    age = GaugeMetricFamily("bus_rates_age_seconds", "Age of these rates.")
    newest = history.newest("outcomes")
    if newest is not None:
        for outcome, rate in sorted(newest.values.items()):
            outcomes.add_metric([outcome], rate)
        age.add_metric([], (now - newest.at).total_seconds())
    took = history.newest("handling")
    if took is not None and newest is not None and took.at == newest.at:
        for name, quantile in (("p50", "0.5"), ("p95", "0.95")):
            if (milliseconds := took.values.get(name)) is not None:
                handling.add_metric([quantile], milliseconds / 1000)
    yield from (outcomes, handling, age)


def _workers() -> Iterator[GaugeMetricFamily]:
    in_flight = GaugeMetricFamily("bus_handlers_in_flight", "Events that handlers work on.", labels=["group"])
    stuck = GaugeMetricFamily("bus_handlers_stuck", "Handlers that run for too long.", labels=["group"])
    try:
        workers = Presence(Ledger()).all()
    except LedgerUnavailableError:
        return
    counts: dict[str, tuple[int, int]] = {}
    for worker in workers:
        for group in worker.groups:
            running, hanging = counts.get(group.group, (0, 0))
            counts[group.group] = running + group.in_flight, hanging + group.stuck
    for name, (running, hanging) in sorted(counts.items()):
        in_flight.add_metric([name], running)
        stuck.add_metric([name], hanging)
    yield from (in_flight, stuck)


def _index(now: datetime) -> Iterator[GaugeMetricFamily]:
    progress = progress_of()
    behind = GaugeMetricFamily("bus_dead_letter_index_behind_records", "Dead letters in Kafka that aren't indexed yet.")
    age = GaugeMetricFamily("bus_dead_letter_index_age_seconds", "When the index last looked at Kafka.")
    if progress.seen_at is not None:
        behind.add_metric([], progress.behind)
        age.add_metric([], (now - progress.seen_at).total_seconds())
    yield from (behind, age)
