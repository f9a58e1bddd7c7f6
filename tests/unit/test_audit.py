"""Reading the audit: all of it in pages, and what concerns one thing, whether it was done to it alone or to many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bus import audit
from bus.audit import AuditFilter, audit_page
from bus.deadletterindex import changes
from bus.deadletterindex.changes import Act
from bus.deadletterindex.pages import LetterFilter
from bus.models import AuditEntry
from bus.replay import operations
from bus.replay.plan import Choice, plan
from bus.replay.recent import active, recent
from tests.indexed import index, letter, record

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def at(seconds: int) -> datetime:
    return NOW + timedelta(seconds=seconds)


def whats(entries: list[AuditEntry]) -> list[str]:
    return [entry.what for entry in entries]


def test_what_was_done_to_many_is_found_by_each_of_them() -> None:
    index([record(number) for number in range(4)])
    ids = [letter(number).pk for number in range(4)]
    changes.discard(ids[:3], Act("ann", "dead-letters.discard", "noise"), at(1))
    changes.restore(ids[:1], Act("bob", "dead-letters.restore"), at(2))
    replay = plan(Choice(LetterFilter(), (ids[0],)), "bob", at(3), None).replay
    operations.run(replay.pk, "bob", at(4))
    operations.cancel(replay.pk, "cem", at(5))

    assert whats(audit.of_letters([ids[0]])) == [
        "replay.cancel",
        "replay.run",
        "replay.plan",
        "dead-letters.restore",
        "dead-letters.discard",
    ]
    assert whats(audit.of_letters([ids[1]])) == ["dead-letters.discard"]
    assert audit.of_letters([ids[3]]) == []
    assert whats(audit.of_letters([ids[0], ids[1]], limit=2)) == ["replay.cancel", "replay.run"]
    assert whats(audit.of_replay(replay.pk)) == ["replay.cancel", "replay.run", "replay.plan"]


def test_of_an_error_group_are_found_notes_and_what_was_done_to_all_of_it() -> None:
    index([record(0), record(1), record(2, error_type="Other")])
    mine = LetterFilter(fingerprint=letter(0).fingerprint)
    Act("ann", "error-group.note").done(at(0), "error-group", letter(0).fingerprint)
    act = Act("ann", "dead-letters.discard", "noise", {"filter": mine.document()})
    changes.discard([letter(0).pk], act, at(1))
    changes.discard([letter(2).pk], Act("ann", "dead-letters.discard", "other noise"), at(2))
    replay = plan(Choice(mine), "bob", at(3), None).replay
    operations.run(replay.pk, "bob", at(4))

    found = audit.of_error_group(letter(0).fingerprint)

    assert whats(found) == ["replay.run", "replay.plan", "dead-letters.discard", "error-group.note"]
    assert audit.of_error_group(letter(2).fingerprint) == []


def test_pages_of_the_audit_are_filtered_and_make_up_all_of_it() -> None:
    for number in range(5):
        who = "ann" if number % 2 else "bob"
        Act(who, "replay.run" if number < 3 else "group.pause").intent(at(number), "replay", str(number))
    found, cursor = [], None
    while True:
        page = audit_page(AuditFilter(), 2, cursor)
        found += [entry.target for entry in page.rows]
        cursor = page.next
        if cursor is None:
            break
    assert found == ["4", "3", "2", "1", "0"]

    def targets(**wanted: object) -> list[str]:
        return [entry.target for entry in audit_page(AuditFilter(**wanted), 10).rows]  # type: ignore[arg-type]

    assert targets(who="ann") == ["3", "1"]
    assert targets(what="replay.") == ["2", "1", "0"]
    assert targets(since=at(1), until=at(3)) == ["2", "1"]
    assert targets(outcome="done") == []
    assert targets(target_kind="replay", target="3") == ["3"]


def test_what_concerns_one_thing_takes_a_few_queries_by_key() -> None:
    index([record(number) for number in range(3)])
    ids = [letter(number).pk for number in range(3)]
    changes.discard(ids, Act("ann", "dead-letters.discard", "noise"), at(1))
    with CaptureQueriesContext(connection) as queries:
        audit.of_letters(ids)
    assert len(queries) <= 6
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            for query in queries.captured_queries:
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
                plan_of_it = " ".join(str(row[-1]) for row in cursor.fetchall())
                assert "SCAN" not in plan_of_it, plan_of_it


def test_an_entry_says_who_did_what_why_and_what_came_of_it() -> None:
    entry = Act("ann", "dead-letters.keep", "evidence", {"keep": True}).done(NOW, "dead-letter", "7")
    assert audit.entry_document(entry) == {
        "id": entry.pk,
        "at": "2026-11-24T12:00:00.000Z",
        "who": "ann",
        "what": "dead-letters.keep",
        "targetKind": "dead-letter",
        "target": "7",
        "why": "evidence",
        "detail": {"keep": True},
        "outcome": "done",
        "outcomeDetail": None,
        "changed": 1,
        "finishedAt": "2026-11-24T12:00:00.000Z",
    }


def test_an_entry_about_many_does_not_name_the_others() -> None:
    index([record(0), record(1)])
    changes.discard([letter(0).pk, letter(1).pk], Act("ann", "dead-letters.discard", "noise", {"filter": {}}), NOW)
    (entry,) = audit.of_letters([letter(0).pk])
    document = audit.entry_document(entry)
    assert (document["detail"], document["changed"], document["target"]) == ({"filter": {}}, 2, None)


def test_replays_of_late_are_those_that_were_started_and_may_be_seen() -> None:
    index([record(0), record(1), record(2, "payment.failed"), record(3)])
    one = operations.replay_one(letter(0).pk, "ann", NOW)
    many = plan(Choice(LetterFilter(), (letter(1).pk, letter(2).pk)), "ann", NOW, None).replay
    planned = plan(Choice(LetterFilter(), (letter(3).pk,)), "ann", NOW, None).replay
    operations.run(many.pk, "ann", NOW)

    assert [each.pk for each in recent()] == [many.pk, one.pk]
    assert [each.pk for each in recent(1)] == [many.pk]
    assert [each.pk for each in recent(started=False)] == [planned.pk, many.pk, one.pk]
    assert [each.pk for each in recent(kinds=["many"])] == [many.pk]
    assert [each.pk for each in recent(may_see=lambda topic: topic == "order.created")] == [one.pk]
    assert [each.pk for each in active()] == [one.pk, many.pk]
