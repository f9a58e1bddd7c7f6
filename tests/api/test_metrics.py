"""Metrics: what Prometheus is told, and what it isn't."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from prometheus_client.parser import text_string_to_metric_families

from bus.models import ClusterState, GroupState, Sample
from eventconsole.api.tokens import Caller
from tests import indexed

pytestmark = pytest.mark.django_db(transaction=True)


async def scrape(api: httpx.AsyncClient) -> dict[tuple[str, str], float]:
    response = await api.get("/api/metrics")
    assert response.status_code == 200, response.text
    return {
        (sample.name, ",".join(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


async def test_an_installation_that_nobody_has_looked_at_reports_no_zeros(api: httpx.AsyncClient) -> None:
    found = await scrape(api)
    assert not [name for name, _ in found if name in ("bus_kafka_up", "bus_events_per_second", "bus_workers")]


async def test_lag_dead_letters_and_rates_are_told(api: httpx.AsyncClient) -> None:
    now = datetime.now(UTC)

    def seed() -> None:
        indexed.index([indexed.record(0), indexed.record(1)])
        ours: dict[str, Any] = {"is_ours": True, "sampled_at": now - timedelta(seconds=7)}
        GroupState.objects.create(name="a-group", lag=42, time_lag_seconds=3.5, workers=2, **ours)
        GroupState.objects.create(name="b-group", lag=1, time_lag_seconds=None, **ours)
        GroupState.objects.create(name="foreign", lag=7, sampled_at=now)
        ClusterState.objects.create(asked_at=now, error="refused")
        Sample.objects.create(series="outcomes", step=5, at=now, values={"processed": 12.5}, parts={})
        Sample.objects.create(series="handling", step=5, at=now, values={"p95": 250}, parts={})

    await sync_to_async(seed)()
    found = await scrape(api)
    assert found["bus_consumer_group_lag_events", "a-group"] == 42
    assert found["bus_consumer_group_time_lag_seconds", "a-group"] == 3.5
    assert 7 <= found["bus_consumer_group_sample_age_seconds", "a-group"] < 60
    assert ("bus_consumer_group_time_lag_seconds", "b-group") not in found, "unknown isn't zero"
    assert ("bus_consumer_group_lag_events", "foreign") not in found
    assert found["bus_kafka_up", ""] == 0
    assert found["bus_events_per_second", "processed"] == 12.5
    assert found["bus_handler_seconds", "0.95"] == 0.25
    assert sum(value for (name, _), value in found.items() if name == "bus_dead_letters_open") == 2


async def test_it_needs_a_token_that_may_read_everything(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient, callers: dict[str, Caller]
) -> None:
    callers["some"] = Caller("some", frozenset({"read"}), ("order.*",))
    callers["none"] = Caller("none", frozenset({"publish"}))
    for token, status in (("some", 403), ("none", 403), ("wrong", 401)):
        response = await anyone.get("/api/metrics", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == status
