"""Publishing by hand: what a topic expects, what is checked before anything is sent, and copies."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pydantic import BaseModel

from bus import catalog
from bus.catalog import Topic
from bus.envelope import Event, Metadata, encode
from bus.errors import BrokerUnavailableError
from bus.ledger import EventStatus, PublishRecord
from eventconsole.pages import publish
from eventconsole.pages.event import contents
from eventconsole.pages.publish.schema import rows_of
from eventconsole.records import OpenedRecord
from tests import indexed
from tests.pages.conftest import HOSTILE, is_escaped

pytestmark = pytest.mark.django_db
TOPIC = "order.created"


def check(client: Client, body: str | dict[str, Any]) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    response = client.post("/publish/check", text, content_type="application/json")
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


# -- the form -------------------------------------------------------------------------------------------------------


def test_the_page_offers_every_topic_and_the_example_of_the_chosen_one(operator: Client) -> None:
    content = operator.get("/publish", {"topic": "payment.failed"}).content.decode()
    assert content.count("<option") >= len(catalog.topics())
    assert '<option value="payment.failed" selected>' in content
    assert "&quot;paymentId&quot;: &quot;payment-2001&quot;" in content


def test_without_the_permission_it_can_be_read_and_says_what_is_missing(visit: Callable[..., Client]) -> None:
    content = visit("read").get("/publish").content.decode()
    assert "You lack the permission “publish”" in content
    assert "You may look, not publish" in content
    assert visit().get("/publish").status_code == 403


def test_fields_within_fields_follow_what_they_are_in() -> None:
    rows = rows_of(catalog.topics()[TOPIC])
    names = [row.name for row in rows]
    items = names.index("items")
    assert rows[items].kind == "list of objects"
    assert rows[items + 1].name == "productId"
    assert rows[items + 1].level == 1


def test_a_model_that_holds_itself_ends() -> None:
    class Node(BaseModel):
        name: str
        below: list[Node] = []

    rows = rows_of(Topic("t", "", Node))
    assert rows[0].is_required
    assert max(row.level for row in rows) == 2


# -- the check ------------------------------------------------------------------------------------------------------


def test_a_good_event_tells_its_size_and_headers_and_sends_nothing(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def published(*arguments: Any, **options: Any) -> None:
        raise AssertionError("it was published")

    monkeypatch.setattr("bus.producer.publish", published)
    monkeypatch.setattr("bus.producer.apublish", published)
    answer = check(operator, {"topic": TOPIC, "data": {}, "priority": "high", "correlationId": "c-1"})
    headers = dict(answer["headers"])
    assert answer["errors"] == []
    assert answer["size"] > 100
    assert headers["event-id"] == "made up when it is sent"
    assert (headers["priority"], headers["correlation-id"], headers["published-by"]) == ("high", "c-1", "ann")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"topic": TOPIC, "data": {"orderId": ["x"]}}, "data.orderId"),
        ({"topic": TOPIC, "data": []}, "data"),
        ({"topic": "order.craeted", "data": {}}, "topic"),
        ({"topic": TOPIC, "data": {}, "priority": "urgent"}, "priority"),
        ({"topic": TOPIC, "data": {}, "source": "a\nb"}, "source"),
        ({"topic": TOPIC, "data": {}, "eventId": "x" * 129}, "eventId"),
        ({"topic": TOPIC, "data": {}, "key": "x" * 1025}, "key"),
        ('{"topic": "order.created", "data": {"a": 1, "a": 2}}', "a"),
        ('{"topic": "order.created", "data": {"a": 0.1000000000000000055511151231257827}}', "data"),
        ("nonsense", "data"),
        ("[]", "body"),
    ],
)
def test_each_problem_names_its_field(operator: Client, body: str | dict[str, Any], field: str) -> None:
    errors = check(operator, body)["errors"]
    assert [error["field"] for error in errors] == [field]


def test_the_check_only_answers_posts_of_those_who_may_look(visit: Callable[..., Client], operator: Client) -> None:
    assert operator.get("/publish/check").status_code == 405
    assert visit().post("/publish/check", "{}", content_type="application/json").status_code == 403


# -- copies -----------------------------------------------------------------------------------------------------------


class Elsewhere:
    """The ledger and Kafka with one event."""

    def __init__(self, value: bytes) -> None:
        self.value = value
        self.problem = ""

    def status(self, event_id: str, groups: Any) -> EventStatus | None:
        return EventStatus(event_id, PublishRecord(TOPIC, 3, 7, 0, "me"), ()) if event_id == "e1" else None

    def read(self, topic: str, partition: int, offset: int) -> OpenedRecord | None:
        if self.problem:
            raise BrokerUnavailableError(self.problem)
        return OpenedRecord(topic, partition, offset, b"k", self.value, (), 0)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    data = b'{"big": 12345678901234567890123, "text": "<b>"}'
    whole = encode(Event(Metadata("e1", TOPIC, "2026-11-27T12:00:00.000Z", priority="high", user_id="u-7"), {}))
    made = Elsewhere(whole.replace(b'"data":{}', b'"data":' + data))
    monkeypatch.setattr(publish, "ledger", lambda: made)
    monkeypatch.setattr(contents, "desk", lambda: made)
    return made


def test_a_copy_has_the_value_byte_for_byte_and_the_labels(operator: Client, elsewhere: Elsewhere) -> None:
    answer = operator.get("/publish/copied", {"copy": "e1"}).json()
    assert answer["value"].encode() == elsewhere.value
    assert answer["event"]["topic"] == TOPIC
    assert answer["event"]["key"] == "k"
    assert (answer["event"]["priority"], answer["event"]["userId"]) == ("high", "u-7")
    assert answer["from"] == "from order.created[3]@7"


def test_a_dead_letter_can_be_copied_while_kafka_is_away(operator: Client, elsewhere: Elsewhere) -> None:
    elsewhere.problem = "no broker"
    indexed.index([indexed.record(1)])
    letter = indexed.letter(1)
    for query in ({"copy": letter.event_id}, {"letter": str(letter.pk)}):
        answer = operator.get("/publish/copied", query).json()
        assert answer["event"]["topic"] == letter.topic
        assert answer["eventId"] == letter.event_id


@pytest.mark.parametrize("value", [b"\xff", b"nonsense", b"{}"])
def test_what_is_no_event_is_not_copied_and_says_why(operator: Client, elsewhere: Elsewhere, value: bytes) -> None:
    elsewhere.value = value
    response = operator.get("/publish/copied", {"copy": "e1"})
    assert response.status_code == 404
    assert response.json()["detail"]


def test_what_is_unknown_is_not_copied(operator: Client, elsewhere: Elsewhere) -> None:
    for query in ({"copy": "other"}, {"letter": "4711"}, {"letter": "x"}, {}):
        assert operator.get("/publish/copied", query).status_code == 404, query


def test_hostile_names_stay_text(operator: Client) -> None:
    for query in ({"copy": HOSTILE}, {"topic": HOSTILE}, {"letter": HOSTILE}):
        assert is_escaped(operator.get("/publish", query).content)
