"""The pages of dead letters, from made-up records in the index."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from bus.deadletterindex import changes
from bus.deadletterindex.changes import Act
from bus.models import DeadLetter, ErrorGroup
from bus.replay import operations
from eventconsole.filters import FilterProblem
from eventconsole.pages.dead_letters.search import read
from tests import indexed
from tests.pages.conftest import HOSTILE, is_escaped

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def fail(number: int, topic: str = "order.created", key: str | None = None, **failure: Any) -> DeadLetter:
    """A dead letter that failed a few seconds ago."""
    recent = {"first_failed_at_ms": NOW_MS - 60_000, "last_attempt_at_ms": NOW_MS - 30_000 + number}
    indexed.index([indexed.record(number, topic, key, **{**recent, **failure})])
    return indexed.letter(number)


def text(client: Client, address: str, status: int = 200) -> str:
    response = client.get(address)
    assert response.status_code == status, response.content[:500]
    return response.content.decode()


# -- the list -----------------------------------------------------------------------------------------------------


def test_calm_when_nothing_is_open(operator: Client) -> None:
    page = text(operator, "/dead-letters")
    assert "No open dead letters." in page
    assert "Nothing is open" in page


def test_answer_names_the_one_new_error_and_links_to_it(operator: Client) -> None:
    old: dict[str, Any] = {"first_failed_at_ms": NOW_MS - 86_400_000 * 3, "last_attempt_at_ms": NOW_MS - 86_400_000 * 2}
    fail(1, error_type="OldError", **old)
    letters = [fail(number, error_type="SmtpError") for number in (2, 3)]
    page = text(operator, "/dead-letters")
    assert "3 open dead letters" in page
    assert ">2</a> of them are one new error since" in page
    assert f"/dead-letters?filter=fingerprint%3A{letters[0].fingerprint}" in page
    assert "SmtpError" in page.split("</section>")[0]


def test_cards_count_the_places_of_the_filter(operator: Client) -> None:
    fail(1)
    fail(2, group="shipping")
    fail(3, topic="order.paid")
    page = text(operator, "/dead-letters?filter=topic:order.created+group:billing")
    assert "Replay 1…" in page
    assert "Replay 3…" in text(operator, "/dead-letters")


def test_every_error_has_its_card_on_some_page(operator: Client) -> None:
    kinds = [f"Error{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(60)]
    recent: dict[str, Any] = {"first_failed_at_ms": NOW_MS - 60_000}
    indexed.index([indexed.record(n, error_type=kind, **recent) for n, kind in enumerate(kinds)])
    first = operator.get("/dead-letters").context["cards"]
    assert (len(first.shown), first.total, first.next) == (6, 60, 0)
    seen: list[str] = []
    start: int | None = 0
    while start is not None:
        cards = operator.get(f"/dead-letters?groups={start}").context["cards"]
        seen += [card.title for card in cards.shown]
        start = cards.next
    assert sorted(seen) == kinds


def test_list_without_a_status_is_of_open_ones(operator: Client) -> None:
    first, second = fail(1), fail(2)
    changes.discard([first.pk], Act("ann", "dead-letters.discard", "test"), NOW)
    page = text(operator, "/dead-letters")
    assert f'data-letter="{second.pk}"' in page
    assert f'data-letter="{first.pk}"' not in page
    assert f'data-letter="{first.pk}"' in text(operator, "/dead-letters?filter=status:discarded")
    assert f'data-letter="{first.pk}"' in text(operator, "/dead-letters?filter=status:any")


def test_links_that_name_fields_lead_to_the_filter(operator: Client) -> None:
    response = operator.get("/dead-letters?topic=order.created&status=any")
    assert response.status_code == 302
    assert response.headers["Location"] == "/dead-letters?filter=topic%3Aorder.created+status%3Aany"
    response = operator.get("/dead-letters?q=topic:order.created")
    assert response.headers["Location"] == "/dead-letters?filter=topic%3Aorder.created"


def test_wrong_filter_says_what_is_allowed_and_lists_nothing(operator: Client) -> None:
    fail(1)
    page = text(operator, "/dead-letters?filter=topik:a", 400)
    assert "did you mean topic?" in page
    assert "data-letter=" not in page


@pytest.mark.parametrize(
    "wrong", ["-topic:a", "topic:a,b", "topic:a*", "status:closed", "since:soon", "topic:a topic:b"]
)
def test_filters_that_the_index_cannot_answer_are_refused(wrong: str) -> None:
    with pytest.raises(FilterProblem):
        read(wrong, NOW)


def test_filter_becomes_what_the_api_takes() -> None:
    search = read('topic:"a b" group:none error:E since:4h timed out', NOW)
    assert search.document() == {
        "status": "open",
        "topic": "a b",
        "group": "",
        "errorType": "E",
        "since": (NOW - timedelta(hours=4)).strftime("%Y-%m-%dT%H:%M:%S.") + f"{NOW.microsecond // 1000:03d}Z",
        "q": "timed out",
    }


@pytest.mark.parametrize("order", ["", "&order=oldest"])
def test_pages_follow_each_other_without_gaps(operator: Client, order: str) -> None:
    recent: dict[str, Any] = {"first_failed_at_ms": NOW_MS - 60_000}
    records = [indexed.record(n, last_attempt_at_ms=NOW_MS - 1000 + n // 3, **recent) for n in range(120)]
    indexed.index(records)
    seen: list[str] = []
    address = f"/dead-letters?{order}"
    for _ in range(4):
        response = operator.get(address)
        seen += [str(letter.pk) for letter in response.context["rows"]]
        if response.context["next"] is None:
            break
        address = f"/dead-letters?cursor={response.context['next']}{order}"
    assert len(seen) == len(set(seen)) == 120
    assert DeadLetter.objects.get(pk=seen[0]).event_id == ("event-0" if order else "event-119")


def test_foreign_cursor_is_said_to_be_one(operator: Client) -> None:
    assert "Start anew" in text(operator, "/dead-letters?cursor=abc")


def test_export_has_every_row_and_no_payload(operator: Client) -> None:
    for number in range(3):
        fail(number, error_message="=1+1")
    response = operator.get("/dead-letters?export=csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))  # type: ignore[attr-defined]
    assert len(rows) == 3
    assert rows[0]["errorMessage"] == "'=1+1"
    response = operator.get("/dead-letters?export=json")
    exported = json.loads(b"".join(response.streaming_content))  # type: ignore[attr-defined]
    assert [row["eventId"] for row in exported] == ["event-2", "event-1", "event-0"]
    assert not {"payload", "value", "stackTrace"} & set(exported[0])


@pytest.mark.parametrize("count", [3, 45])
def test_number_of_queries_does_not_grow(operator: Client, count: int, django_assert_max_num_queries: Any) -> None:
    for number in range(count):
        fail(number, topic=f"topic{number % 5}", error_type=f"Error{number % 9}")
    operator.get("/dead-letters")
    with django_assert_max_num_queries(24):
        operator.get("/dead-letters")


def test_reader_sees_denied_buttons_and_no_checkboxes(visit: Callable[..., Client]) -> None:
    letter = fail(1)
    page = text(visit("read"), "/dead-letters")
    assert 'type="checkbox" name="ids"' not in page
    assert "You lack the permission “replay”" in page
    assert f'data-replay="{letter.pk}"' in page
    text(visit("publish", username="bob"), "/dead-letters", 403)


def test_hostile_text_stays_text(operator: Client) -> None:
    letter = fail(
        1,
        topic="order.created",
        key=HOSTILE,
        error_type=HOSTILE,
        error_message=HOSTILE,
        group=HOSTILE,
        stack_trace=HOSTILE,
    )
    ErrorGroup.objects.update(note=HOSTILE, owner=HOSTILE, noted_by=HOSTILE, noted_at=NOW)
    for address in (
        "/dead-letters",
        f"/dead-letters/{letter.pk}",
        f"/dead-letters?filter=fingerprint:{letter.fingerprint}",
    ):
        assert is_escaped(operator.get(address).content), address


def test_what_matches_is_counted_and_sampled_before_all_of_it_is_changed(operator: Client) -> None:
    for number in range(25):
        fail(number)
    answer = operator.get("/dead-letters/matching?filter=topic:order.created").json()
    assert (answer["count"], answer["isAll"], len(answer["sample"])) == (25, True, 20)
    assert answer["filter"] == {"status": "open", "topic": "order.created"}
    assert operator.get("/dead-letters/matching?filter=nothing:here").status_code == 422


def test_completion_knows_the_index(operator: Client) -> None:
    fail(1, topic="order.created")
    answer = operator.get("/complete/dead-letters?text=topic:ord&cursor=9").json()
    assert answer["suggestions"][0]["text"] == "order.created"
    assert operator.get("/complete/dead-letters?text=topik:a&cursor=3").json()["problem"]


def test_replay_that_waits_can_be_undone_after_a_reload(operator: Client) -> None:
    letter = fail(1)
    operations.replay_one(letter.pk, "ann", datetime.now(UTC), delay=60)
    page = text(operator, "/dead-letters")
    assert f'data-undo="{letter.pk}"' in page
    assert f'data-undo="{letter.pk}"' in text(operator, f"/dead-letters/{letter.pk}")


# -- one dead letter ----------------------------------------------------------------------------------------------


def test_one_dead_letter_tells_everything(operator: Client) -> None:
    letter = fail(1, key="order-7")
    page = text(operator, f"/dead-letters/{letter.pk}")
    for said in ("CardRefusedError", "card 4711 was refused", "handlers/billing.py", "order.created[0]@1", "order-7"):
        assert said in page, said
    assert "/events/event-1" in page
    assert "order.created.dlq[0]@1" in page


def test_unknown_dead_letter_says_why(operator: Client) -> None:
    assert "It may have left Kafka" in text(operator, "/dead-letters/99999999999999999999", 404)


def test_discarded_one_says_until_when_it_can_be_restored(operator: Client) -> None:
    letter = fail(1)
    changes.discard([letter.pk], Act("bob", "dead-letters.discard", "a duplicate"), NOW)
    page = text(operator, f"/dead-letters/{letter.pk}")
    assert "Discarded by bob" in page
    assert "a duplicate" in page
    assert f'data-restore="{letter.pk}"' in page


def test_edit_form_locks_what_the_server_refuses(operator: Client) -> None:
    letter = fail(1)
    page = text(operator, f"/dead-letters/{letter.pk}")
    locked = page.split('data-header="event-id"')[1].split("</div>")[0]
    assert "readonly" in locked
    assert 'data-header="correlation-id" data-kind="sensitive"' in page


def test_numbers_keep_their_digits_in_the_edit_form(operator: Client) -> None:
    from eventconsole.pages.dead_letters.words import data_text

    value = b'{"metadata":{"eventId":"a"},"data":{"big":123456789012345678901234567890,"float":1.0}}'
    assert data_text(value) == '{\n  "big": 123456789012345678901234567890,\n  "float": 1.0\n}'
    assert data_text(b"no json") is None


def test_replay_that_waits_for_kafka_says_that_nothing_is_lost(operator: Client) -> None:
    letter = fail(1)
    operations.replay_one(letter.pk, "ann", datetime.now(UTC))
    page = text(operator, f"/dead-letters/{letter.pk}")
    assert "It is stored, and sent to" in page
    assert "Nothing is lost" in page


def test_one_that_failed_again_points_to_what_stands_for_it(operator: Client) -> None:
    first = fail(1)
    operations.replay_one(first.pk, "ann", datetime.now(UTC))
    fail(1, generation=1)
    second = DeadLetter.objects.get(event_id="event-1", generation=1)
    page = text(operator, f"/dead-letters/{first.pk}")
    assert f'<a href="/dead-letters/{second.pk}">dead letter {second.pk}</a> stands for it' in page
    assert "failed again" in text(operator, f"/dead-letters/{second.pk}")
