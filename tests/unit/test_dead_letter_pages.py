"""Pages of dead letters: together they are the list, whatever its order and whatever comes meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from bus.deadletterindex import pages
from bus.deadletterindex.pages import CursorError, LetterFilter, letter_page
from bus.models import DeadLetter
from tests.indexed import index, record

START = datetime(2026, 11, 24, tzinfo=UTC)


def add(number: int, at: datetime, status: str = "open", error_message: str = "") -> DeadLetter:
    return DeadLetter.objects.create(
        event_id=f"event-{number}",
        group="billing",
        topic="orders",
        status=status,
        error_message=error_message,
        fingerprint="f",
        first_failed_at=at,
        last_failed_at=at,
        cluster="c",
        dlq_topic="orders.dlq",
        dlq_partition=0,
        dlq_offset=number,
        indexed_at=at,
    )


def all_pages(wanted: LetterFilter, limit: int) -> list[int]:
    found: list[int] = []
    cursor = None
    while True:
        page = letter_page(wanted, limit, cursor)
        assert len(page.rows) == limit or page.next is None
        found += [letter.pk for letter in page.rows]
        cursor = page.next
        if cursor is None:
            return found


class Pages(TestCase):
    @given(
        st.lists(st.integers(0, 3), max_size=25),
        st.lists(st.sampled_from(["open", "discarded", "superseded"]), min_size=25, max_size=25),
        st.integers(1, 7),
    )
    def test_pages_together_are_the_whole_list_in_order(
        self, times: list[int], statuses: list[str], limit: int
    ) -> None:
        DeadLetter.objects.all().delete()
        letters = [add(number, START + timedelta(microseconds=at), statuses[number]) for number, at in enumerate(times)]
        listed = [letter for letter in letters if letter.status != "superseded"]
        expected = sorted(listed, key=lambda letter: (letter.last_failed_at, letter.pk), reverse=True)

        assert all_pages(LetterFilter(), limit) == [letter.pk for letter in expected]
        opened = [letter.pk for letter in expected if letter.status == "open"]
        assert all_pages(LetterFilter(status="open"), limit) == opened


class PagesOfText(TestCase):
    @given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=25), st.integers(1, 7), st.booleans())
    def test_pages_of_those_with_a_text_are_the_list_of_them(
        self, given_: list[tuple[int, bool]], limit: int, oldest_first: bool
    ) -> None:
        """Whether the text is found near the begin of a page, or further away."""
        DeadLetter.objects.all().delete()
        said = {True: "card was Refused", False: "timed out"}
        for number, (at, has_it) in enumerate(given_):
            add(number, START + timedelta(microseconds=at), error_message=said[has_it])
        order = ("last_failed_at", "pk") if oldest_first else ("-last_failed_at", "-pk")
        wanted = DeadLetter.objects.filter(error_message=said[True]).order_by(*order).values_list("pk", flat=True)
        found: list[int] = []
        cursor, is_first = None, True
        with mock.patch.object(pages, "_NEAR", 4), mock.patch.object(pages, "_looks_near", return_value=True):
            while is_first or cursor:
                page = letter_page(LetterFilter(q="was refused"), limit, cursor, oldest_first=oldest_first)
                assert len(page.rows) == limit or page.next is None
                found += [each.pk for each in page.rows]
                cursor, is_first = page.next, False
        assert found == list(wanted)


@pytest.mark.django_db
def test_what_fails_meanwhile_moves_no_page() -> None:
    for number in range(6):
        add(number, START + timedelta(seconds=number))
    first = letter_page(LetterFilter(), 3)
    add(99, START + timedelta(hours=1))

    second = letter_page(LetterFilter(), 3, first.next)

    assert [letter.event_id for letter in second.rows] == ["event-2", "event-1", "event-0"]


@pytest.mark.django_db
def test_a_page_takes_one_query_that_neither_counts_nor_skips() -> None:
    for number in range(6):
        add(number, START + timedelta(seconds=number))
    cursor = letter_page(LetterFilter(), 3).next
    with CaptureQueriesContext(connection) as queries:
        letter_page(LetterFilter(topic="orders"), 3, cursor)

    (query,) = [each["sql"].upper() for each in queries.captured_queries]
    assert " OFFSET " not in query
    assert "COUNT(" not in query


@pytest.mark.django_db
@pytest.mark.parametrize("cursor", ["", "x", "é", "WzEsMl0=", "W10", "bnVsbA", "WzEsMiwzXQ", "WyIxIiwyXQ", "A" * 5000])
def test_a_cursor_of_somebody_elses_making_is_refused_or_a_page(cursor: str) -> None:
    try:
        letter_page(LetterFilter(), 3, cursor)
    except CursorError:
        return


@pytest.mark.django_db
def test_filters_mean_ids_and_keys_as_the_index_keeps_them() -> None:
    index([record(0, key="k" * 1000)])

    assert len(letter_page(LetterFilter(key="k" * 1000), 3).rows) == 1
    assert len(letter_page(LetterFilter(key="k"), 3).rows) == 0
