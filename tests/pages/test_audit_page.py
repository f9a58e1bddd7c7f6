from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from bus.models import AuditEntry
from tests.pages.conftest import HOSTILE, is_escaped

NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def entries(count: int, **fields: object) -> None:
    wanted = {"who": "ann", "what": "replay.run", "target_kind": "replay", "target": "7", "why": "fix is out", **fields}
    AuditEntry.objects.bulk_create(
        [AuditEntry(at=NOON + timedelta(seconds=number), **wanted) for number in range(count)]
    )


def test_it_says_who_did_what_why_and_to_what(operator: Client) -> None:
    entries(1, outcome="done", changed=1204)
    content = operator.get("/audit").content.decode()
    for expected in ("ann", "replay.run", "fix is out", "1,204", 'href="/replays/7"'):
        assert expected in content


def test_pages_follow_each_other_without_a_gap_or_a_repetition(operator: Client) -> None:
    entries(120)
    seen: list[int] = []
    address: str | None = "/audit"
    while address:
        context = operator.get(address).context
        seen += [entry.pk for entry, _ in context["rows"]]
        address = f"/audit?cursor={context['next']}" if context["next"] else None
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 120


def test_a_time_that_no_database_knows_is_named(operator: Client) -> None:
    response = operator.get("/audit", {"since": "0001-01-01T00:00:00+14:00"})
    assert response.status_code == 200
    assert "isn't a time" in response.context["problems"][0]


def test_a_link_leads_to_the_thing_whatever_it_is_called(operator: Client) -> None:
    entries(1, target_kind="event", target="../logout?next=/x#y")
    assert 'href="/events/..%2Flogout%3Fnext%3D%2Fx%23y"' in operator.get("/audit").content.decode()


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("who=bob", 1),
        ("what=dead-letters", 1),
        ("target_kind=dead-letter&target=9", 1),
        ("since=2026-11-27T12:00:02", 1),
    ],
)
def test_the_filter_of_the_address_holds(operator: Client, query: str, count: int) -> None:
    entries(3)
    AuditEntry.objects.filter(at=NOON + timedelta(seconds=2)).update(
        who="bob", what="dead-letters.discard", target_kind="dead-letter", target="9"
    )
    assert len(operator.get(f"/audit?{query}").context["rows"]) == count


def test_what_is_wrong_with_a_filter_is_said(operator: Client) -> None:
    entries(1)
    response = operator.get("/audit?since=yesterday&cursor=nonsense")
    content = response.content.decode()
    assert "yesterday" in content
    assert "isn&#x27;t a time" in content
    assert "the cursor isn&#x27;t one" in content
    assert response.status_code == 200


def test_it_can_be_taken_away_as_csv_and_json(operator: Client) -> None:
    entries(3, why='=HYPERLINK("http://evil")')
    streamed = b"".join(operator.get("/audit?export=csv").streaming_content).decode()  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(streamed)))
    assert len(rows) == 3
    assert rows[0]["why"].startswith("'="), "a spreadsheet would run it"
    body = b"".join(operator.get("/audit?export=json&who=ann").streaming_content)  # type: ignore[attr-defined]
    assert [row["who"] for row in json.loads(body)] == ["ann"] * 3


def test_text_of_others_is_text(operator: Client) -> None:
    entries(1, who=HOSTILE[:200], why=HOSTILE, target=HOSTILE[:200], outcome_detail=HOSTILE, detail={HOSTILE: HOSTILE})
    assert is_escaped(operator.get("/audit").content)


def test_it_needs_the_permission_to_read(visit: Callable[..., Client]) -> None:
    response = visit("publish").get("/audit")
    assert response.status_code == 403
    assert "permission “read”" in response.content.decode()
    assert Client().get("/audit").status_code == 302
