"""The page of one event: what the ledger knows of it drawn as a path, with its record, its dead letters and its kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

import bus
from bus.envelope import Event, Metadata, derived_event_id, encode
from bus.errors import BrokerUnavailableError
from bus.ledger import Attempt, EventStatus, GroupStatus, PublishRecord, Status
from eventconsole import records
from eventconsole.addresses import event_url
from eventconsole.pages.event import contents, live, story, timeline
from eventconsole.pages.event.story import story_of
from eventconsole.records import OpenedRecord
from tests import indexed
from tests.pages.conftest import HOSTILE, is_escaped

pytestmark = pytest.mark.django_db
AT = 1_790_000_000_000
GROUP = "notification-service-group"
TOPIC = "order.created"


class Redis:
    """What the ledger knows."""

    def __init__(self) -> None:
        self.events: dict[str, EventStatus] = {}
        self.copies: dict[str, int] = {}
        self.kin: list[str] = []

    def status(self, event_id: str) -> EventStatus | None:
        return self.events.get(event_id)

    def duplicates(self, event_id: str) -> dict[str, int]:
        return self.copies

    def correlated(self, correlation_id: str) -> list[str]:
        return self.kin

    def knows(self, event_id: str, *groups: GroupStatus, topic: str = TOPIC, at_ms: int = AT) -> None:
        self.events[event_id] = EventStatus(event_id, PublishRecord(topic, 3, 1842, at_ms, 'token "orders"'), groups)


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Redis:
    made = Redis()
    monkeypatch.setattr(bus, "event_status", made.status)
    monkeypatch.setattr(story, "ledger", lambda: made)
    monkeypatch.setattr(timeline, "ledger", lambda: made)
    return made


class Kafka:
    """Records by place; a text in place of them says why it is away."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int, int], OpenedRecord] = {}
        self.problem = ""

    def read(self, topic: str, partition: int, offset: int) -> OpenedRecord | None:
        if self.problem:
            raise BrokerUnavailableError(self.problem)
        return self.records.get((topic, partition, offset))

    def has(self, value: bytes | None, key: bytes | None = b"k", headers: Any = ()) -> None:
        self.records[TOPIC, 3, 1842] = OpenedRecord(TOPIC, 3, 1842, key, value, tuple(headers), AT)


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    made = Kafka()
    monkeypatch.setattr(contents, "desk", lambda: made)
    return made


def group(status: Status, *errors: str | None, next_retry_at_ms: int | None = None, name: str = GROUP) -> GroupStatus:
    attempts = tuple(Attempt(AT + 10 + number * 5000, 12, "web-1", error) for number, error in enumerate(errors))
    worker = "web-2" if status is Status.PROCESSING else None
    return GroupStatus(name, status, TOPIC, 0, attempts, next_retry_at_ms, worker)


def page(client: Client, event_id: str = "e1", query: str = "", status: int = 200) -> str:
    response = client.get(f"/events/{quote(event_id, safe='')}{query}")
    assert response.status_code == status, response.content[:300]
    return response.content.decode()


# -- the path -------------------------------------------------------------------------------------------------------


def test_a_retry_is_told_with_its_error_its_wait_and_when_it_goes_on(operator: Client, redis: Redis) -> None:
    redis.knows("e1", group(Status.RETRYING, "SmtpError: refused", "SmtpError: refused", next_retry_at_ms=AT + 20_000))
    content = page(operator)
    assert "attempt 2 of 4 failed: SmtpError: refused" in content
    assert "order.created[3]@1842" in content
    assert "after a wait of 5.0 s" in content
    assert "data-until" in content
    assert "retrying ×2" in content


def test_each_group_with_a_handler_is_shown_also_before_it_took_the_event(operator: Client, redis: Redis) -> None:
    redis.knows("e1", group(Status.PROCESSED, None))
    told = {each.name: each.status for each in story_of("e1", AT + 1000).groups}
    assert told[GROUP] == "processed"
    assert "pending" in told.values()
    assert len(told) > 1


@pytest.mark.parametrize(
    ("found", "lit"),
    [
        (group(Status.PROCESSED, None), {"processing", "processed"}),
        (group(Status.PROCESSED, "E: x", None), {"processing", "retrying", "again", "processed"}),
        (group(Status.RETRYING, "E: x"), {"processing", "retrying"}),
        (group(Status.PROCESSING, "E: x"), {"processing", "retrying", "again"}),
        (group(Status.FAILED, "E: x"), {"processing", "failed"}),
        (group(Status.FAILED), {"failed"}),
        (group(Status.PROCESSING), {"processing"}),
    ],
)
def test_the_way_that_was_taken_is_lit_and_no_other(redis: Redis, found: GroupStatus, lit: set[str]) -> None:
    redis.knows("e1", found)
    told = next(each for each in story_of("e1", AT).groups if each.name == GROUP)
    assert {name for name, is_lit in told.is_lit.items() if is_lit} == lit


def test_an_attempt_that_runs_is_one_of_them(redis: Redis) -> None:
    redis.knows("e1", group(Status.PROCESSING, "E: x"))
    told = next(each for each in story_of("e1", AT).groups if each.name == GROUP)
    assert [(run.number, run.is_running) for run in told.runs] == [(1, False), (2, True)]
    assert "Attempt 2 of 4 runs on web-2" in told.sentence.words


def test_suppressed_duplicates_are_counted(operator: Client, redis: Redis) -> None:
    redis.knows("e1", group(Status.PROCESSED, None))
    redis.copies = {GROUP: 2, "publish": 1}
    content = page(operator)
    assert "2 duplicates suppressed" in content
    assert "1 further copy" in content


def test_its_dead_letters_replays_and_what_people_did_are_linked(operator: Client, redis: Redis) -> None:
    indexed.index([indexed.record(1)])
    letter = indexed.letter(1)
    content = page(operator, letter.event_id)
    assert f'href="/dead-letters/{letter.pk}"' in content
    assert "Redis doesn&#x27;t know it any more" in content


# -- ids ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event_id", ["a/b c", "a?b#c%20", "..", ".", "payload", "record", 'ü"<b>', "a//b", "x" * 128])
def test_any_printable_id_has_an_address(operator: Client, redis: Redis, event_id: str) -> None:
    redis.knows(event_id, group(Status.PROCESSED, None))
    response = operator.get(event_url(event_id))
    assert response.status_code == 200
    assert response.context["story"].event_id == event_id


@pytest.mark.parametrize("event_id", ["x" * 129, "a\u202eb"])
def test_what_can_not_be_an_id_is_refused_with_what_is_allowed(operator: Client, event_id: str) -> None:
    assert "1 to 128 printable characters" in page(operator, event_id, status=404)


# -- states in which something is missing -----------------------------------------------------------------------------


def test_an_unknown_event_says_what_was_asked_and_where_to_look(operator: Client, redis: Redis) -> None:
    content = page(operator, "nonsense", "?at=order.created/3/1842")
    assert "Nothing is known of this event" in content
    assert "/topics/order.created?start=1842&amp;partition=3" in content
    assert "/event-parts/record?event=nonsense" in content


def test_without_redis_the_page_says_so_and_shows_the_rest(operator: Client) -> None:
    indexed.index([indexed.record(1)])
    letter = indexed.letter(1)
    content = page(operator, letter.event_id)
    assert "Redis is away" in content
    assert f'href="/dead-letters/{letter.pk}"' in content
    assert "Nothing is known" not in content


def test_the_page_never_asks_kafka(operator: Client, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*place: Any) -> None:
        raise AssertionError("Kafka was asked")

    monkeypatch.setattr(records.RecordDesk, "read", asked)
    redis.knows("e1", group(Status.PROCESSED, None))
    assert "Reading order.created[3]@1842" in page(operator)


def test_one_without_the_permission_sees_nothing(visit: Callable[..., Client]) -> None:
    nobody = visit()
    for address in ("/events/e1", "/event-parts/record", "/event-parts/value", "/event-parts/correlated"):
        assert nobody.get(address).status_code == 403, address


# -- its record -----------------------------------------------------------------------------------------------------


def event(event_id: str = "e1", data: Any = None, **metadata: Any) -> bytes:
    return encode(Event(Metadata(event_id, TOPIC, "2026-11-27T12:00:00.000Z", **metadata), data or {}))


def record(client: Client, event_id: str = "e1", at: str = "order.created/3/1842") -> str:
    response = client.get("/event-parts/record", {"event": event_id, "at": at})
    assert response.status_code == 200
    return response.content.decode()


def test_the_record_is_shown_with_key_labels_headers_and_kin(operator: Client, redis: Redis, kafka: Kafka) -> None:
    kafka.has(event(priority="high", correlation_id="c 1"), b"order-77", [("event-id", b"e1"), ("raw", b"\xff\x00")])
    content = record(operator)
    for expected in ("order-77", "high", "order.created[3]@1842", "event-id", "ff 00", "correlation=c+1"):
        assert expected in content, expected


def test_hostile_text_stays_text_wherever_it_stands(operator: Client, redis: Redis, kafka: Kafka) -> None:
    hostile_id = HOSTILE[:100].replace("\u202e", "")
    kafka.has(
        event(hostile_id, {"x": HOSTILE}, source=HOSTILE, correlation_id=HOSTILE[:60]),
        HOSTILE.encode(),
        [(HOSTILE, HOSTILE.encode())],
    )
    redis.knows(hostile_id, group(Status.FAILED, f"{HOSTILE}: {HOSTILE}", name=HOSTILE), topic=HOSTILE)
    redis.kin = [hostile_id]
    for content in (page(operator, hostile_id), record(operator, hostile_id)):
        assert is_escaped(content.encode())
    answer = operator.get("/event-parts/correlated", {"correlation": HOSTILE, "event": hostile_id})
    assert is_escaped(answer.content)


def test_a_large_value_is_cut_and_offers_the_whole(operator: Client, kafka: Kafka) -> None:
    value = event(data={"x": "y" * 200_000})
    kafka.has(value)
    content = record(operator)
    assert len(content) < 80_000
    assert 'data-all="/event-parts/value?at=order.created%2F3%2F1842"' in content
    whole = operator.get("/event-parts/value", {"at": "order.created/3/1842"})
    assert whole.content == value
    assert whole["Content-Type"].startswith("text/plain")


def test_when_kafka_is_away_the_dead_letter_has_the_record(operator: Client, kafka: Kafka) -> None:
    kafka.problem = "no broker at 127.0.0.1:1"
    content = record(operator)
    assert "Kafka is away" in content
    assert "Read again" in content
    assert "no broker" in content
    indexed.index([indexed.record(1)])
    letter = indexed.letter(1)
    content = record(operator, letter.event_id)
    assert f"from its dead letter {letter.pk}" in content
    assert "data-payload" in content


def test_what_kafka_has_deleted_is_said(operator: Client, kafka: Kafka) -> None:
    assert "Kafka has no record at order.created[3]@1842 any more" in record(operator)


def test_a_record_of_another_event_is_not_passed_off_as_this_one(operator: Client, kafka: Kafka) -> None:
    kafka.has(event("other"))
    assert "The record there is of another event: other" in record(operator)


def test_an_event_that_its_producer_gave_no_id_is_known_by_its_place(operator: Client, kafka: Kafka) -> None:
    kafka.has(b'{"metadata": {}, "data": {}}')
    assert "another event" not in record(operator, derived_event_id(TOPIC, 3, 1842))


def test_what_is_no_event_is_shown_as_it_is(operator: Client, kafka: Kafka) -> None:
    kafka.has(b"\xff\xfe", None)
    content = record(operator)
    assert "ff fe" in content
    assert "in hexadecimal" in content
    kafka.has(None)
    assert "no value (null)" in record(operator)


# -- kin ------------------------------------------------------------------------------------------------------------


def test_events_of_one_correlation_lie_on_a_line_of_time(redis: Redis) -> None:
    redis.knows("e2", group(Status.PROCESSED, None), at_ms=AT + 500)
    redis.knows("e1", group(Status.PROCESSED, None), at_ms=AT)
    redis.kin = ["e2", "e1", "forgotten"]
    line = timeline.timeline_of("c", "e2", AT + 10_000)
    assert [(row.event_id, row.after_ms, row.is_this) for row in line.rows] == [("e1", 0, False), ("e2", 500, True)]
    assert all(0 <= row.x <= 1000 for row in line.rows)


# -- live -----------------------------------------------------------------------------------------------------------


def test_the_room_shows_what_the_page_showed(operator: Client, redis: Redis) -> None:
    redis.knows("e1", group(Status.PROCESSED, None))
    for piece in live({"id": "e1"}).pieces:
        assert piece.strip().startswith('<div id="event-')
