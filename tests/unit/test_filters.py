"""The filter language of the pages."""

from __future__ import annotations

import time
from collections.abc import Mapping
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventconsole.filters import MAX_TERMS, Field, Filter, FilterProblem, Language, Pattern, Suggestion

Row = Mapping[str, str]
STATUSES = ("published", "processing", "retrying", "processed", "failed")
TOPICS = ("order.created", "order.shipped", "user.updated")


def language() -> Language[Row]:
    return Language(
        [
            Field("topic", "the topic", lambda row: row.get("topic"), lambda: TOPICS),
            Field("status", "what happened", lambda row: row.get("status"), lambda: STATUSES),
            Field("source", "who published it", lambda row: row.get("source"), suggest=lambda: ["web", "mobile app"]),
            Field("key", "the key", lambda row: row.get("key")),
        ],
        lambda row: " ".join(row.values()),
    )


def matches(text: str, **row: str) -> bool:
    return language().parse(text).matches(row)


@pytest.mark.parametrize(
    ("text", "row", "wanted"),
    [
        ("", {}, True),
        ("topic:order.created", {"topic": "order.created"}, True),
        ("topic:order.*", {"topic": "order.shipped"}, True),
        ("topic:order.*", {"topic": "user.updated"}, False),
        ("-topic:order.*", {"topic": "user.updated"}, True),
        ("topic:order.* -topic:*.shipped", {"topic": "order.shipped"}, False),
        ("topic:order.created topic:user.updated", {"topic": "user.updated"}, True),
        ("status:retrying,failed", {"status": "failed"}, True),
        ("status:retrying,failed", {"status": "processed"}, False),
        ("STATUS:Failed", {"status": "failed"}, True),
        ("topic:order.created status:failed", {"topic": "order.created", "status": "processed"}, False),
        ("key:*", {}, True),
        ("key:a*b*c", {"key": "a-b-c"}, True),
        ("key:a*b*c", {"key": "acb"}, False),
        ("key:ab*ba", {"key": "aba"}, False),
        ('key:"a*b"', {"key": "a*b"}, True),
        ('key:"a*b"', {"key": "axb"}, False),
        ('key:"a,b"', {"key": "a,b"}, True),
        ('key:"mobile app"*', {"key": "mobile app 7"}, True),
        ("key:a:b", {"key": "a:b"}, True),
        ("Timed", {"error": "it timed out"}, True),
        ('"timed out"', {"error": "it timed out"}, True),
        ('"timed out"', {"error": "timed, out"}, False),
        ("timed out", {"error": "out, timed"}, True),
        ("-timed", {"error": "it timed out"}, False),
        ('-"a b"', {"error": "b a"}, True),
        ('"status:failed"', {"error": "it says status:failed"}, True),
        ("-source:web", {}, True),
        ("-", {"error": "a - b"}, True),
        ('"a \\"b\\" \\\\ c"', {"error": 'x a "b" \\ c'}, True),
        (".*", {"error": "anything"}, False),
        ("<script>", {"error": "<script>alert(1)</script>"}, True),
    ],
)
def test_a_row_is_wanted_or_not(text: str, row: dict[str, str], wanted: bool) -> None:
    assert language().parse(text).matches(row) is wanted


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("topik:order.created", 0, "did you mean topic"),
        ("status:failed nothing:1", 14, "allowed are topic, status, source, key"),
        ("status:faild", 7, "did you mean failed"),
        ("status:failed,xyz", 14, "allowed are published, processing"),
        ("topic:invoice.*", 6, "no topic is invoice.*"),
        ("topic:", 6, "needs a value"),
        ('topic:""', 6, "needs a value"),
        ("status:failed,", 14, "needs a value"),
        ('key:"open', 4, "has no end"),
        ('a ""', 2, "empty text"),
        (":x", 0, "there is no field ''"),
        ("x" * 501, 500, "at most 500 characters"),
        (" ".join(["a"] * (MAX_TERMS + 1)), 2 * MAX_TERMS, "at most 20 terms"),
        ("key:" + ",".join("a" * 21), 3, "at most 20 alternatives"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_what_is_allowed(text: str, position: int, says: str) -> None:
    with pytest.raises(FilterProblem) as caught:
        language().parse(text)
    assert caught.value.position == position
    assert says in caught.value.problem
    assert str(caught.value).startswith(f"character {position + 1}: ")


def parse(text: str) -> tuple[Filter[Row] | None, FilterProblem | None]:
    try:
        return language().parse(text), None
    except FilterProblem as problem:
        return None, problem


@given(st.text(max_size=60) | st.text('abk:*," \\-', max_size=30) | st.text('topicstausrekyfld:.,*"\\- ', max_size=40))
def test_no_text_breaks_it_and_what_is_parsed_can_be_written_again(text: str) -> None:
    parsed, problem = parse(text)
    if parsed is None:
        assert problem is not None
        assert 0 <= problem.position <= len(text)
        return
    again = language().parse(str(parsed))
    assert [(each.field, each.patterns, each.is_negated) for each in again.terms] == [
        (each.field, each.patterns, each.is_negated) for each in parsed.terms
    ]
    rows: list[Row] = [{}, {"topic": "order.created", "key": text, "source": "a,b"}]
    for row in rows:
        assert again.matches(row) is parsed.matches(row)


@given(st.text(max_size=40), st.integers(-5, 60))
def test_completion_never_breaks_and_stays_within_the_text(text: str, cursor: int) -> None:
    for suggestion in language().complete(text, cursor):
        assert 0 <= suggestion.start <= suggestion.end <= max(len(text), 0)


@given(st.text("ab*", max_size=12), st.text("ab", max_size=12))
def test_wildcards_mean_what_they_mean_elsewhere(pattern: str, value: str) -> None:
    assert Pattern(tuple(pattern.split("*"))).matches(value) is fnmatchcase(value, pattern)


def test_matching_takes_no_longer_however_devious_the_pattern() -> None:
    parsed = language().parse("key:" + "a*" * 200 + "b")
    began = time.perf_counter()
    for _ in range(100):
        assert not parsed.matches({"key": "a" * 300})
    assert time.perf_counter() - began < 2


def complete(text: str) -> list[str]:
    """Completions where `|` stands."""
    cursor = text.index("|")
    return [each.text for each in language().complete(text.replace("|", ""), cursor)]


def test_fields_and_then_values_are_suggested() -> None:
    assert complete("|") == ["topic:", "status:", "source:", "key:"]
    assert complete("s|") == ["status:", "source:"]
    assert complete("-s|") == ["status:", "source:"]
    assert complete("status:|") == list(STATUSES)
    assert complete("status:pro|") == ["processing", "processed"]
    assert complete("status:failed,re|") == ["retrying"]
    assert complete("topic:ship|") == ["order.shipped"], "also in the middle"
    assert complete("source:|") == ["web", '"mobile app"']
    assert complete("key:|") == []
    assert complete("nothing:|") == []
    assert complete('source:"mo|') == ['"mobile app"']


def test_a_suggestion_says_what_it_replaces() -> None:
    assert language().complete("status:fa x", 9) == [Suggestion("failed", 7, 9, "")]
    assert language().complete("-to:x", 3) == [Suggestion("topic:", 1, 4, "the topic")]


def test_values_may_come_from_elsewhere() -> None:
    found = language().complete("key:or", 6, lambda field, begun: [f"{field}-{begun}-1"])
    assert [each.text for each in found] == ["key-or-1"]
