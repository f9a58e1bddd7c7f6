"""Lists of groups and topics, page by page, with ten thousand groups of ten partitions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bus.deadletterindex.pages import CursorError
from bus.lag.pages import GroupSort, StateFilter, group_page, topic_page
from bus.models import GroupState, TopicState

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def make_groups(count: int, partitions: int = 2) -> None:
    detail = [
        {"topic": "t", "partition": number, "end": 9, "committed": 1, "lag": 8, "timeLag": 2.0, "waits": None}
        for number in range(partitions)
    ]
    GroupState.objects.bulk_create(
        [
            GroupState(
                name=f"group-{number:05}",
                is_ours=number % 10 == 0,
                lag=number % 7,
                time_lag_seconds=None if number % 5 == 0 else float(number % 3),
                sampled_at=NOW,
                sparkline=[1] * 60,
                partitions=detail,
            )
            for number in range(count)
        ],
        batch_size=500,
    )


def every_page(limit: int, **options: Any) -> list[GroupState]:
    found: list[GroupState] = []
    cursor: str | None = None
    while True:
        page = group_page(StateFilter(), limit, cursor, **options)
        found += page.rows
        cursor = page.next
        if cursor is None:
            return found


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort", list(GroupSort))
def test_pages_are_the_sorted_list_cut_into_pieces(sort: GroupSort, descending: bool) -> None:
    make_groups(50)

    found = every_page(7, sort=sort, descending=descending)

    def key(group: GroupState) -> tuple[Any, str]:
        time_lag = -1.0 if group.time_lag_seconds is None else group.time_lag_seconds
        return {"name": group.name, "lag": group.lag, "time-lag": time_lag}[sort], group.name

    assert [each.name for each in found] == [
        each.name for each in sorted(GroupState.objects.all(), key=key, reverse=descending)
    ]


def test_a_list_never_reads_partitions_and_is_never_sorted_anew() -> None:
    make_groups(10_000, partitions=10)
    for sort in GroupSort:
        first = group_page(StateFilter(), 50, sort=sort)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            group_page(StateFilter(), 50, first.next, sort=sort)
        [query] = queries.captured_queries
        assert '"partitions"' not in query["sql"]
        if connection.vendor != "sqlite":
            continue
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + query["sql"])
            plan = " ".join(str(row[-1]) for row in cursor.fetchall())
        assert "TEMP B-TREE" not in plan, f"{sort} sorts all rows: {plan}"


def test_filters() -> None:
    make_groups(30)
    assert len(group_page(StateFilter(is_ours=True), 50).rows) == 3
    assert all(each.lag for each in group_page(StateFilter(behind=True), 50).rows)
    assert [each.name for each in group_page(StateFilter(q="P-00007"), 50).rows] == ["group-00007"]


@pytest.mark.parametrize(
    "cursor", ["", "x", "WzFd", "eyJhIjoxfQ", "WyJsYWciLCAieCIsICJ5Il0", "é", "WyJuYW1lIiwiYSIsImEiXQ"]
)
def test_a_cursor_of_another_list_is_refused(cursor: str) -> None:
    with pytest.raises(CursorError):
        group_page(StateFilter(), 50, cursor, sort=GroupSort.LAG)


def test_topics_are_listed_by_name_and_kind() -> None:
    for name, kind in (("b", "events"), ("a", "events"), ("a.dlq", "dead-letters"), ("c", "events")):
        TopicState.objects.create(name=name, kind=kind, sampled_at=NOW)
    first = topic_page(["events"], 2)
    rest = topic_page(["events"], 2, first.next)
    assert [[each.name for each in page.rows] for page in (first, rest)] == [["a", "b"], ["c"]]
    assert [each.name for each in topic_page(["events"], 9, names=["c", "a.dlq"]).rows] == ["c"]
