"""What callers give, checked and encoded."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from bus import catalog, envelope, handlers
from bus.catalog import Priority
from bus.envelope import Event, Metadata
from bus.errors import EventTooLargeError, InvalidEventError, PublishUnknownError, UnknownTopicError
from bus.handlers import Delivery
from bus.producer import EventInput, Published
from bus.producer.drafts import NO_LABELS, Draft, Drafter, Labels
from tests.unit.producer_bench import Bench

TOPIC = "order.created"


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def headers_of(bench: Bench) -> dict[str, bytes | None]:
    return dict(bench.records.sent[-1].record.headers)


def test_the_publisher_is_the_group_inside_a_handler_and_the_client_id_elsewhere(bench: Bench) -> None:
    bench.start(bench.producer.publish, TOPIC, {}, timeout=0.05)
    assert headers_of(bench)["published-by"] == b"event-service"
    bench.start(bench.producer.publish, TOPIC, {}, timeout=0.05, published_by="cron", sent=2)
    assert headers_of(bench)["published-by"] == b"cron"

    def handle() -> None:
        handlers._delivery.set(Delivery("email-service-group", TOPIC, 0, 0, 1, 0, "worker"))
        with pytest.raises(PublishUnknownError):
            bench.producer.publish(TOPIC, {}, timeout=0.05)

    handling = threading.Thread(target=handle)
    handling.start()
    handling.join()
    assert headers_of(bench)["published-by"] == b"email-service-group"


def test_a_malformed_traceparent_is_left_out(bench: Bench) -> None:
    for number, malformed in enumerate(("nonsense\n", TRACE + "-more", TRACE.upper()), start=1):
        bench.start(bench.producer.publish, TOPIC, {}, traceparent=malformed, timeout=0.05, sent=number)
        assert "traceparent" not in headers_of(bench)


def test_events_of_a_batch_may_be_objects_and_take_what_they_lack_from_the_batch(bench: Bench) -> None:
    events = [EventInput({"n": 1}, key="k"), EventInput({"n": 2}, source="mobile", priority="low"), {"data": {"n": 3}}]
    bench.start(
        bench.producer.publish_batch, TOPIC, events, source="web", priority="high", timeout=0.05, sent=3
    ).result(5)
    sent = [each.record for each in bench.records.sent]
    assert [each.key for each in sent] == [b"k", None, None]
    assert [dict(each.headers)["priority"] for each in sent] == [b"high", b"low", b"high"]
    assert [b'"source":"mobile"' in (each.value or b"") for each in sent] == [False, True, False]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({}, "data"),
        ({"data": {}, "eventId": "x"}, "eventId"),
        ("text", "event"),
        ({"data": {}, "event_id": 7}, "eventId"),
        ({"data": {}, "key": 7}, "key"),
    ],
)
def test_an_event_that_cannot_be_read_fails_alone(bench: Bench, event: Any, field: str) -> None:
    publishing = bench.start(bench.producer.publish_batch, TOPIC, [event, {"data": {}}])
    bench.records.poll()
    failure, published = publishing.result(5)
    assert isinstance(failure.error, InvalidEventError)
    assert failure.error.field == field
    assert isinstance(failure.event_id, str)
    assert isinstance(published, Published)


@pytest.mark.parametrize("count", [0, 11])
def test_an_empty_and_an_oversized_batch_are_refused_as_a_whole(count: int) -> None:
    bench = Bench(max_batch=10)
    with pytest.raises(InvalidEventError, match="events"):
        bench.producer.publish_batch(TOPIC, ({"data": {}} for _ in range(count)))
    assert not bench.records.sent


def test_ids_made_in_a_batch_are_random_uuids(bench: Bench) -> None:
    bench.start(bench.producer.publish_batch, TOPIC, [{"data": {}}] * 500, timeout=0.05, sent=500).result(5)
    ids = [(dict(each.record.headers)["event-id"] or b"").decode() for each in bench.records.sent]
    assert len(set(ids)) == 500
    made = [uuid.UUID(each) for each in ids]
    assert {(each.version, each.variant) for each in made} == {(4, uuid.RFC_4122)}
    assert [str(each) for each in made] == ids
    assert len({each[19] for each in ids}) == 4


def test_a_reserved_topic_and_an_unknown_one_are_refused_with_a_hint(bench: Bench) -> None:
    with pytest.raises(UnknownTopicError, match=r"did you mean order\.created"):
        bench.producer.publish("order.creatd", {})
    with pytest.raises(UnknownTopicError, match="the bus alone"):
        bench.producer.publish(catalog.dead_letter_topic(TOPIC), {})


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=200)
PRINTABLE = st.text(min_size=1, max_size=128).filter(str.isprintable)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
LABELS = st.tuples(
    st.sampled_from(list(Priority)), st.none() | TEXT, st.none() | TEXT, st.none() | TEXT, TEXT.filter(bool)
)
AT_MS = 1_700_000_000_123
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def drafter(topic: str = TOPIC, **options: Any) -> Drafter:
    return Drafter(
        topic, **{"at_ms": AT_MS, "published_by": "tests", "traceparent": None, "max_event_bytes": 1_000_000, **options}
    )


def draft(data: Any = None, *, key: Any = None, event_id: Any = "id", labels: Any = NO_LABELS, **options: Any) -> Draft:
    return drafter(**options).draft(0, {} if data is None else data, key, event_id, "fresh", labels)


def refused(**what: Any) -> InvalidEventError:
    with pytest.raises(InvalidEventError) as caught:
        draft(**what)
    return caught.value


@given(event_id=PRINTABLE, labels=LABELS, data=JSON, trace=st.sampled_from([None, TRACE]))
def test_a_draft_has_the_bytes_and_headers_of_the_envelope(
    event_id: str, labels: Labels, data: Any, trace: str | None
) -> None:
    priority, source, correlation_id, user_id, version = labels
    topic = "user.deleted"
    model = catalog.topics()[topic].model
    metadata = Metadata(event_id, topic, envelope.timestamp(AT_MS), version, priority, source, correlation_id, user_id)
    event = Event(metadata, {"anything": data})
    made = drafter(topic, traceparent=trace)
    for _ in range(2):  # the second is made from what the first left
        drafted = made.draft(0, event.data, None, event_id, "fresh", labels)
        assert drafted.value == envelope.encode(event)
        assert drafted.headers == envelope.headers_of(event, "tests", trace)
    assert model is not None


def test_big_numbers_and_nul_are_sent_as_they_are() -> None:
    data = {"huge": 2**70, "negative": -(2**65), "nul": "a\0b", "deep": [[[[{}]]]]}
    assert json.loads(draft(data).value)["data"] == data


@pytest.mark.parametrize("depth", [200, 260, 400, 10_000])
def test_nesting_is_readable_for_consumers_or_refused(depth: int) -> None:
    data: Any = {}
    for _ in range(depth):
        data = {"a": data}
    try:
        value: bytes | None = draft(data).value
    except InvalidEventError:
        value = None
    if value is None:
        assert depth > 400
    else:
        assert envelope.decode(value).data == data


@pytest.mark.parametrize("event_id", ["", "x" * 129, "a\nb", "\ud800", 7, b"id"])
def test_an_event_id_is_1_to_128_printable_characters(event_id: Any) -> None:
    assert refused(event_id=event_id).field == "eventId"


@pytest.mark.parametrize("label", ["x" * 201, "a\nb", "a\r", "\0", "\u2028", "\u0085", "\x7f", "\udfff", 7, ["x"], {}])
@pytest.mark.parametrize(("place", "name"), [(1, "source"), (2, "correlationId"), (3, "userId"), (4, "version")])
def test_a_label_is_short_and_without_control_characters(place: int, name: str, label: Any) -> None:
    labels = (*NO_LABELS[:place], label, *NO_LABELS[place + 1 :])
    assert refused(labels=labels).field == name


@pytest.mark.parametrize("priority", ["urgent", "HIGH", "", 1, ["high"]])
def test_an_unknown_priority_is_refused_with_those_that_are_allowed(priority: Any) -> None:
    error = refused(labels=(priority, *NO_LABELS[1:]))
    assert error.field == "priority"
    assert "critical, high, normal, low" in error.problem


def test_labels_may_have_any_other_characters() -> None:
    label = "Größe\u00a0\u3000日本 \u200d👩" + "x" * 180
    assert len(label) <= 200
    assert draft(labels=("low", label, label, label, "2")).correlation_id == label


@pytest.mark.parametrize("key", ["ø" * 513, "\ud800", 7, b"key"])
def test_a_key_is_a_text_of_at_most_a_kilobyte(key: Any) -> None:
    assert refused(key=key).field == "key"


def test_a_key_of_a_kilobyte_and_an_empty_one_are_keys() -> None:
    assert draft(key="ø" * 512).key == ("ø" * 512).encode()
    assert draft(key="").key == b""
    assert draft().key is None


def test_the_limit_counts_the_bytes_of_the_whole_event() -> None:
    size = len(draft({"a": "ø"}).value)
    assert draft({"a": "ø"}, max_event_bytes=size).value
    with pytest.raises(EventTooLargeError, match=f"{size} bytes, allowed are {size - 1}"):
        draft({"a": "ø"}, max_event_bytes=size - 1)


class Line(BaseModel):
    model_config = ConfigDict(strict=True)
    amount: int


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    lines: list[Line]
    note: str = "none"


@pytest.fixture
def strict_topic(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(catalog, "_topics", catalog.topics())
    catalog.add_topic("strict", "A topic of a test", Strict)
    return "strict"


@pytest.mark.parametrize(
    ("data", "field", "problem"),
    [
        ({"lines": [{"amount": 1}, {"amount": "2"}]}, "data.lines[1].amount", "valid integer"),
        ({"lines": [{"amount": 1}], "note": uuid.UUID(int=0), "x": 2**70}, "data", "UUID"),
        ({}, "data.lines", "required"),
        ({"lines": [{}, {}]}, "data.lines[0].amount", "data.lines[1].amount"),
        ([], "data", "dictionary"),
    ],
)
def test_data_that_its_model_refuses_is_named_by_its_path(
    strict_topic: str, data: Any, field: str, problem: str
) -> None:
    error = refused(data=data, topic=strict_topic)
    assert error.field == field
    assert problem in error.problem


def test_data_that_takes_the_slow_path_is_checked_as_well(strict_topic: str) -> None:
    error = refused(data={"lines": [{"amount": "2"}], "huge": 2**70, "on": date(2024, 1, 15)}, topic=strict_topic)
    assert error.field == "data"
    error = refused(data={"lines": [{"amount": "2"}], "huge": 2**70}, topic=strict_topic)
    assert error.field == "data.lines[0].amount"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_lacks_is_refused_and_null_is_not(number: float) -> None:
    assert refused(data={"a": [None, {"b": number}]}).field == "data.a[1].b"
    assert b'"a":null' in draft({"a": None}).value


def test_an_event_that_consumers_could_not_read_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "encode", lambda event: b'{"metadata":{"eventId":""},"data":null}'[:-2])
    error = refused(data={"huge": 2**70})
    assert (error.field, "read back" in error.problem) == ("data", True)


def test_data_is_sent_as_given_and_not_as_its_model_sees_it(strict_topic: str) -> None:
    data = {"lines": [{"amount": 1, "more": True}], "unknown": 2**70}
    assert json.loads(draft(data, topic=strict_topic).value)["data"] == data


def test_what_becomes_text_in_json_is_checked_as_text(strict_topic: str) -> None:
    for note, text in ((uuid.UUID(int=7), str(uuid.UUID(int=7))), (date(2024, 1, 15), "2024-01-15")):
        data: Any = {"lines": [], "note": note}
        assert json.loads(draft(data, topic=strict_topic).value)["data"]["note"] == text


@pytest.mark.parametrize("topic", ["", "x" * 5000, None, 7, "order.created.dlq", "email-service-group.replay"])
def test_only_topics_of_the_catalog_are_published_on(topic: Any) -> None:
    with pytest.raises(UnknownTopicError) as caught:
        drafter(topic)
    assert len(str(caught.value)) < 500
