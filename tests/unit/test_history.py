"""Reading samples: one point for each step, and gaps that stay gaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bus import history
from bus.models import Sample

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_a_gap_has_no_values_and_keeps_its_place() -> None:
    Sample.objects.create(series="lag", step=5, at=at(0), values={"total": 1})
    Sample.objects.create(series="lag", step=5, at=at(15), values={"total": 0})
    Sample.objects.create(series="lag", step=60, at=at(0), values={"total": 9})

    found = history.points("lag", at(0), at(20))

    assert found == [(at(0), {"total": 1}), (at(5), {}), (at(10), {}), (at(15), {"total": 0})]


def test_points_begin_within_the_time_asked_for() -> None:
    assert [point.at for point in history.points("lag", at(1), at(10.5))] == [at(5), at(10)]
    assert [point.at for point in history.points("lag", at(5), at(10))] == [at(5)]
    assert history.points("lag", at(10), at(5)) == []


def test_long_times_are_read_in_minutes() -> None:
    assert len(history.points("lag", at(0), at(24 * 3600))) == 24 * 60
    assert len(history.points("lag", at(0), at(3600))) == 720


def test_series_are_read_together() -> None:
    Sample.objects.create(series="topic:a", step=5, at=at(0), values={"published": 2})
    Sample.objects.create(series="topic:b", step=5, at=at(5), values={"published": 3})
    found = history.points_of(["topic:a", "topic:b"], at(0), at(10))
    assert found["topic:a"] == [(at(0), {"published": 2}), (at(5), {})]
    assert found["topic:b"] == [(at(0), {}), (at(5), {"published": 3})]


def test_the_newest_point_says_when_it_was() -> None:
    assert history.newest("lag") is None
    Sample.objects.create(series="lag", step=5, at=at(0), values={"total": 1})
    Sample.objects.create(series="lag", step=5, at=at(5), values={"total": 2})
    assert history.newest("lag") == (at(5), {"total": 2})
