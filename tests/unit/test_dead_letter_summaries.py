"""Small answers about the index: right, and in one query that needs no scan however many dead letters there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bus.deadletterindex import changes, trends
from bus.deadletterindex.changes import Act
from bus.deadletterindex.summaries import (
    Completed,
    completions,
    letters_of_event,
    new_groups,
    open_counts,
    places_of,
)
from bus.deadletterindex.trends import Span
from bus.models import DeadLetter, ErrorGroup
from tests.indexed import AT_MS, index, letter, record

NOW = datetime(2026, 11, 24, 12, 30, 20, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def failed_at(number: int, at: datetime, **failure: Any) -> Any:
    return record(number, last_attempt_at_ms=int(at.timestamp() * 1000), **failure)


def one_query(ask: Callable[[], Any]) -> str:
    """What is asked of the database, which is one statement."""
    with CaptureQueriesContext(connection) as queries:
        ask()
    (query,) = queries.captured_queries
    return str(query["sql"])


def how(sql: str) -> str:
    """The plan of a query on SQLite."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


only_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="reads SQLite's plan")


class TestTrends:
    def test_each_failure_is_in_the_minute_in_which_it_happened(self) -> None:
        for number, ago in enumerate([0, 19, 21, 59 * 60, 60 * 60, -30, 3 * 3600]):
            index([failed_at(number, NOW - timedelta(seconds=ago))])
        fingerprint = letter(0).fingerprint

        trend = trends.trends([fingerprint], NOW)[fingerprint]

        assert trend.start == datetime(2026, 11, 24, 11, 31, tzinfo=UTC)
        # What failed 60 minutes ago is before the first step; 30 s ahead, by a clock that is wrong, in the last one.
        assert {index: count for index, count in enumerate(trend.counts) if count} == {0: 1, 58: 1, 59: 3}
        assert trend.total == 5
        assert len(trend.counts) == 60

    def test_of_a_day_in_the_hour(self) -> None:
        for number, ago in enumerate([0, 31, 23 * 60, 24 * 60]):
            index([failed_at(number, NOW - timedelta(minutes=ago))])
        fingerprint = letter(0).fingerprint

        trend = trends.trends([fingerprint], NOW, Span.DAY)[fingerprint]

        assert (trend.counts[0], trend.counts[-2], trend.counts[-1], trend.total) == (1, 1, 1, 3)
        assert trend.start + 23 * trend.step == datetime(2026, 11, 24, 12, tzinfo=UTC)

    def test_what_was_discarded_or_failed_again_still_failed(self) -> None:
        index([failed_at(0, NOW), failed_at(1, NOW)])
        changes.discard([letter(0).pk], Act("ann", "dead-letters.discard", "noise"), NOW)
        DeadLetter.objects.filter(pk=letter(1).pk).update(status="superseded")
        fingerprint = letter(0).fingerprint

        assert trends.trends([fingerprint], NOW)[fingerprint].total == 2

    def test_groups_that_are_quiet_unknown_or_out_of_sight_have_zeros(self) -> None:
        index([failed_at(0, NOW), record(1, error_type="Other", last_attempt_at_ms=AT_MS)])
        loud, quiet = letter(0).fingerprint, letter(1).fingerprint

        found = trends.trends([loud, quiet, "unknown"], NOW, topics=["payment.failed"])

        assert [found[each].total for each in (loud, quiet, "unknown")] == [0, 0, 0]
        assert trends.trends([loud], NOW, topics=["order.created"])[loud].total == 1
        assert trends.trends([], NOW) == {}

    @only_sqlite
    @pytest.mark.parametrize("span", Span)
    def test_one_query_for_a_page_of_groups_reads_nothing_but_an_index(self, span: Span) -> None:
        index([failed_at(0, NOW)])
        names = [letter(0).fingerprint, *(f"group-{number}" for number in range(150))]

        plan = how(one_query(lambda: trends.trends(names, NOW, span)))

        assert "SEARCH bus_deadletter USING COVERING INDEX bus_letter_fingerprint" in plan
        assert "SCAN" not in plan


class TestBadges:
    def test_open_dead_letters_are_counted_by_topic_and_group(self) -> None:
        index([record(0), record(1, group="shipping"), record(2, "payment.failed"), record(3, error_type="Other")])
        changes.discard([letter(0).pk], Act("ann", "dead-letters.discard", "noise"), NOW)

        found = open_counts()

        assert found.total == 3
        assert found.by_topic == {"order.created": 2, "payment.failed": 1}
        assert found.by_group == {"billing": 2, "shipping": 1}
        assert open_counts(["payment.failed"]).by_group == {"billing": 1}
        assert open_counts([]).total == 0

    def test_they_come_from_the_counts_in_one_query(self) -> None:
        assert "bus_deadletter" not in one_query(open_counts)


class TestOfAnEvent:
    def test_all_its_dead_letters_are_listed_by_group_and_generation(self) -> None:
        index([record(0, group="shipping"), replace(record(0), its_offset=98), record(1)])
        index([replace(record(0, group="shipping", generation=1), its_offset=99)])

        found = letters_of_event("event-0")

        assert [(each.group, each.generation, each.status) for each in found] == [
            ("billing", 0, "open"),
            ("shipping", 0, "superseded"),
            ("shipping", 1, "open"),
        ]
        assert letters_of_event("event-0", ["payment.failed"]) == []
        assert letters_of_event("unknown") == []

    @only_sqlite
    def test_they_are_found_by_a_key(self) -> None:
        plan = how(one_query(lambda: letters_of_event("event-0")))
        assert "USING INDEX" in plan
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan


class TestNewGroups:
    def test_those_first_seen_since_are_listed_the_newest_first(self) -> None:
        for number, minutes in enumerate([60, 10, 5]):
            at = NOW - timedelta(minutes=minutes)
            ms = int(at.timestamp() * 1000)
            index([record(number, error_type=f"Error{number}", first_failed_at_ms=ms, last_attempt_at_ms=ms)])

        found = new_groups(NOW - timedelta(minutes=30), 10)

        assert [each.error_type for each in found] == ["Error2", "Error1"]
        assert new_groups(NOW - timedelta(minutes=30), 1) == found[:1]
        assert new_groups(NOW - timedelta(minutes=30), 10, ["payment.failed"]) == []


class TestCompletion:
    def test_names_that_hold_what_was_typed_come_in_order(self) -> None:
        index([record(0), record(1, "payment.failed", error_type="TimeoutError"), record(2, group="shipping")])

        assert completions(Completed.TOPIC) == ["order.created", "payment.failed"]
        assert completions(Completed.TOPIC, "FAIL") == ["payment.failed"]
        assert completions(Completed.GROUP, limit=1) == ["billing"]
        assert completions(Completed.ERROR_TYPE, "error") == ["CardRefusedError", "TimeoutError"]
        assert completions(Completed.ERROR_TYPE, topics=["payment.failed"]) == ["TimeoutError"]
        assert completions(Completed.TOPIC, "%") == []

    @pytest.mark.parametrize("of", Completed)
    def test_no_dead_letter_is_read_for_it(self, of: Completed) -> None:
        sql = one_query(lambda: completions(of, "x"))
        assert '"bus_deadletter"' not in sql


def test_the_places_of_a_page_of_groups_take_one_query() -> None:
    index([record(0), record(1, group="shipping"), record(2, error_type="Other")])
    fingerprints = list(ErrorGroup.objects.order_by("error_type").values_list("pk", flat=True))

    one_query(lambda: places_of(fingerprints))

    found = places_of(fingerprints)
    assert [[place.group for place in found[each]] for each in fingerprints] == [["billing", "shipping"], ["billing"]]
    assert places_of(fingerprints, []) == {each: [] for each in fingerprints}
