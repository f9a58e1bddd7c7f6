"""The tail: rows that the server draws at first, the filter of the address, search and completion."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

import bus
from bus.activity import Transition
from bus.errors import BrokerUnavailableError, LedgerUnavailableError
from bus.ledger import EventStatus, PublishRecord
from bus.models import Sample
from eventconsole.pages.events import finding, recent
from eventconsole.pages.events.recent import Lately, last_minute
from eventconsole.places import RecordPlace, read_place
from eventconsole.records import OpenedRecord
from tests import indexed
from tests.pages.conftest import HOSTILE, is_escaped

pytestmark = pytest.mark.django_db
AT = 1_790_000_000_000


def transition(number: int = 0, outcome: str = "processed", **given: Any) -> Transition:
    fields = {"event_id": f"event-{number}", "topic": "order.created", "group": "email-service-group", **given}
    return Transition(at_ms=AT + number, outcome=outcome, **fields)


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[Transition]:
    """What happened lately."""
    found: list[Transition] = []
    mine = Lately(lambda count: found, clock=iter(range(10_000)).__next__)
    for module in ("eventconsole.pages.events", "eventconsole.pages.events.finding"):
        monkeypatch.setattr(f"{module}.lately", mine)
    return found


def page(client: Client, query: str = "") -> str:
    response = client.get(f"/events{query}")
    assert response.status_code == 200
    return response.content.decode()


# -- rows -----------------------------------------------------------------------------------------------------------


def test_the_newest_comes_first_whatever_process_told_it_last(happened: list[Transition], operator: Client) -> None:
    happened += [transition(7), transition(9), transition(8, "published", group="")]
    content = page(operator)
    places = [content.index(f'title="event-{number}"') for number in (9, 8, 7)]
    assert places == sorted(places)


def test_within_a_millisecond_an_event_is_published_before_it_begins() -> None:
    told = [transition(1, "processed"), transition(1, "published"), transition(1, "processing")]
    found = Lately(lambda count: told).transitions()
    assert [each.outcome for each in found] == ["processed", "processing", "published"]


def test_the_filter_of_the_address_holds_and_is_handed_to_the_room(
    happened: list[Transition], operator: Client
) -> None:
    happened += [transition(1), transition(2, "failed", error="SmtpError: refused")]
    content = page(operator, f"?filter={quote('status:failed')}")
    assert "event-2" in content
    assert "event-1&quot;" not in content
    assert "{&quot;filter&quot;:&quot;status:failed&quot;}" in content


def test_a_wrong_filter_says_what_is_allowed_and_shows_no_rows(happened: list[Transition], operator: Client) -> None:
    happened += [transition(1)]
    content = page(operator, "?filter=topik:x")
    assert "did you mean topic?" in content
    assert 'title="event-1"' not in content


def test_hostile_text_stays_text(happened: list[Transition], operator: Client) -> None:
    happened += [
        transition(
            1, "retrying", event_id=HOSTILE, topic=HOSTILE, group=HOSTILE, key=HOSTILE, error=HOSTILE,
            next_retry_at_ms=AT, source=HOSTILE,
        )
    ]  # fmt: skip
    assert is_escaped(page(operator).encode())


def test_without_redis_the_page_says_that_no_event_is_lost(operator: Client) -> None:
    content = page(operator)
    assert "Redis is away" in content
    assert "No event is lost" in content


def test_rows_lead_to_the_event_and_say_where_its_record_is(happened: list[Transition], operator: Client) -> None:
    happened += [transition(1, event_id="a/b", partition=3, offset=7)]
    assert 'href="/events/a%2Fb?at=order.created%2F3%2F7"' in page(operator)


def test_one_without_the_permission_sees_nothing(visit: Callable[..., Client]) -> None:
    nobody = visit()
    for address in ("/events", "/event-parts/search?text=x", "/event-parts/completions?text=x"):
        assert nobody.get(address).status_code == 403, address


# -- the last minute ------------------------------------------------------------------------------------------------


def test_the_last_minute_is_the_sum_of_its_samples() -> None:
    now = datetime(2026, 11, 27, 12, 0, 2, tzinfo=UTC)
    begin = datetime(2026, 11, 27, 11, 50, tzinfo=UTC)
    for number in range(120):
        Sample.objects.create(
            series="outcomes",
            step=5,
            at=begin + timedelta(seconds=5 * number),
            values={"processed": 2.0, "failed": 0.2},
        )
    counts = {each.outcome: each.count for each in last_minute(now)}
    assert counts["processed"] == 120
    assert counts["failed"] == 12
    assert counts["published"] == 0


def test_nobody_counted_is_not_the_same_as_nothing_happened() -> None:
    assert {each.count for each in last_minute()} == {None}


# -- search ---------------------------------------------------------------------------------------------------------


class Redis:
    def __init__(self) -> None:
        self.events: set[str] = set()
        self.kin: list[str] = []
        self.is_away = False

    def status(self, event_id: str) -> EventStatus | None:
        if self.is_away:
            raise LedgerUnavailableError("no Redis")
        return EventStatus(event_id, PublishRecord("t", 0, 1, AT, "me"), ()) if event_id in self.events else None

    def correlated(self, correlation_id: str) -> list[str]:
        return self.kin if correlation_id == "c-1" else []


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch, happened: list[Transition]) -> Redis:
    made = Redis()
    monkeypatch.setattr(bus, "event_status", made.status)
    monkeypatch.setattr(finding, "ledger", lambda: made)
    return made


def find(client: Client, text: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/event-parts/search", {"text": text}).json()
    return answer


def test_an_id_leads_to_its_event_colons_and_spaces_included(redis: Redis, operator: Client) -> None:
    redis.events = {"e 1", "urn:x:1"}
    assert find(operator, "e 1")["url"] == "/events/e%201"
    assert find(operator, "urn:x:1")["url"] == "/events/urn%3Ax%3A1"
    assert operator.get("/events", {"search": "e 1"})["Location"] == "/events/e%201"


def test_a_filter_is_none_of_that(redis: Redis, operator: Client) -> None:
    assert find(operator, "status:failed") == {"isFilter": True}
    assert "did you mean topic" in find(operator, "topik:x")["problem"]


def test_one_event_of_a_correlation_is_opened_and_several_are_offered(redis: Redis, operator: Client) -> None:
    redis.kin = ["a"]
    assert find(operator, "c-1")["url"] == "/events/a"
    redis.kin = ["a", "b"]
    answer = find(operator, "c-1")
    assert answer["url"] == ""
    assert [choice["url"] for choice in answer["choices"]] == ["/events/a", "/events/b"]
    assert "2 events have the correlation id c-1" in answer["words"]


def test_what_redis_forgot_is_found_among_the_dead_letters(redis: Redis, operator: Client) -> None:
    indexed.index([indexed.record(1)])
    event_id = indexed.letter(1).event_id
    assert find(operator, event_id)["url"] == f"/events/{quote(event_id)}"
    redis.is_away = True
    assert find(operator, event_id)["url"] == f"/events/{quote(event_id)}"


def test_a_shortened_id_is_found_among_what_happened_lately(
    redis: Redis, happened: list[Transition], operator: Client
) -> None:
    happened += [transition(1, event_id="550e8400-aaaa-0001"), transition(2, event_id="550e8400-bbbb-0002")]
    assert find(operator, "550e8400…0002")["url"] == "/events/550e8400-bbbb-0002"
    assert len(find(operator, "550e8400")["choices"]) == 2


def test_nothing_found_says_where_it_was_looked_for(redis: Redis, operator: Client) -> None:
    words = find(operator, "nonsense")["words"]
    for expected in ("No event is called nonsense", "Redis doesn't know it", "No dead letter has it"):
        assert expected in words
    redis.is_away = True
    assert "Redis is away" in find(operator, "nonsense")["words"]


@pytest.mark.parametrize("text", ["order.created/3/7", "order.created[3]@7"])
def test_a_place_leads_to_the_event_of_the_record_there(
    redis: Redis, operator: Client, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    class Desk:
        problem = ""

        def read(self, topic: str, partition: int, offset: int) -> OpenedRecord | None:
            if self.problem:
                raise BrokerUnavailableError(self.problem)
            if offset != 7:
                return None
            return OpenedRecord(topic, partition, offset, None, b"{}", (("event-id", b"e1"),), AT)

    desk = Desk()
    monkeypatch.setattr(finding, "desk", lambda: desk)
    assert find(operator, text)["url"] == "/events/e1?at=order.created%2F3%2F7"
    gone = find(operator, text.replace("7", "8"))
    assert "Kafka has no record at order.created[3]@8" in gone["words"]
    desk.problem = "no broker"
    assert "Kafka is away" in find(operator, text)["words"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a.b/0/1", RecordPlace("a.b", 0, 1)),
        (" a-b_c[12]@99 ", RecordPlace("a-b_c", 12, 99)),
        ("a/b/1", None),
        ("a/1", None),
        ("a[1]@", None),
        ("a/99999999999/1", None),
        ("a/2147483648/1", None),
        ("a/1/9999999999999999999", None),
        ("/1/1", None),
        ("a\n/1/1", None),
    ],
)
def test_places_are_read_as_people_write_them(text: str, place: RecordPlace | None) -> None:
    assert read_place(text) == place


# -- completion -----------------------------------------------------------------------------------------------------


def complete(client: Client, text: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/event-parts/completions", {"text": text, "cursor": str(len(text))}).json()
    return answer


def test_fields_and_values_complete(happened: list[Transition], operator: Client) -> None:
    happened += [transition(1, key="order-77"), transition(2, key="cart-1")]
    assert "status:" in [each["text"] for each in complete(operator, "sta")["suggestions"]]
    assert "retrying" in [each["text"] for each in complete(operator, "status:ret")["suggestions"]]
    assert [each["text"] for each in complete(operator, "key:order")["suggestions"]] == ["order-77"]


def test_a_wrong_filter_is_said_while_it_is_typed(happened: list[Transition], operator: Client) -> None:
    assert "no field" in complete(operator, "nonsense:x ")["problem"]
    assert complete(operator, "x" * 600)["problem"]
    assert operator.get("/event-parts/completions?text=a&cursor=nonsense").status_code == 200


def test_what_is_not_known_of_late_is_read_once_a_second() -> None:
    clock = [0.0]
    reads: list[int] = []

    def read(count: int) -> list[Transition]:
        reads.append(count)
        return []

    mine = Lately(read, clock=lambda: clock[0])
    mine.transitions()
    mine.values("key", "")
    assert len(reads) == 1
    clock[0] = recent._FRESH_SECONDS
    mine.transitions()
    assert len(reads) == 2
