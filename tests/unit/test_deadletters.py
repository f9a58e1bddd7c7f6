"""Dead letters as DESIGN.md section 4 describes them: nothing of the original is ever lost or changed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import deadletters
from bus.deadletters import DeadLetter, Failure, Origin, OutgoingRecord, Reason, ValueAtOriginError
from bus.envelope import Headers, derived_event_id

GROUP = "email-service-group"
ORIGIN = Origin("order.created", 3, 4711, 1_700_000_000_123)
FAILURE = Failure(
    group=GROUP,
    reason=Reason.EXHAUSTED,
    attempts=4,
    error_type="smtplib.SMTPServerDisconnected",
    error_message="Connection unexpectedly closed",
    stack_trace='Traceback (most recent call last):\n  File "handlers.py", line 7\n',
    first_failed_at_ms=1_700_000_001_000,
    last_attempt_at_ms=1_700_000_036_789,
)
EVENT = (
    b'{"metadata":{"eventId":"e-1","eventType":"order.created","timestamp":"2024-01-15T10:30:00.000Z"},"data":{"n":1}}'
)
LIMIT = 2_000_000

header_lists: st.SearchStrategy[Headers] = st.lists(
    st.tuples(st.sampled_from(["event-id", "x", "dlq", "traceparent", "ü"]) | st.text(), st.none() | st.binary()),
    max_size=8,
).map(lambda headers: [header for header in headers if not header[0].startswith("dlq-")])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
json_objects = st.builds(
    lambda members, indent, ascii_only, before, after: (
        before + json.dumps(members, indent=indent, ensure_ascii=ascii_only) + after
    ).encode(errors="replace"),
    st.dictionaries(st.text(st.characters(codec="utf-8")), json_values, max_size=5),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.text(" \t\r\n", max_size=3),
    st.text(" \t\r\n", max_size=3),
)
garbage = st.none() | st.binary() | st.binary().map(lambda value: b"{" + value + b"}") | json_objects
texts = st.text(st.characters())  # lone surrogates included: exceptions can carry them


def build(
    value: bytes | None = EVENT,
    key: bytes | None = b"order-1",
    headers: Headers | None = None,
    origin: Origin = ORIGIN,
    failure: Failure = FAILURE,
    max_bytes: int = LIMIT,
    event_id: str | None = "e-1",
) -> OutgoingRecord:
    return deadletters.build(value, key, headers or [], origin, failure, max_bytes=max_bytes, event_id=event_id)


def read(record: OutgoingRecord) -> DeadLetter:
    return deadletters.read(record.value, record.key, record.headers, record.topic)


def header(record: OutgoingRecord, name: str) -> bytes | None:
    found = [content for header_name, content in record.headers if header_name == name]
    assert len(found) <= 1, f"{name} is repeated"
    return found[0] if found else None


# What is written


def test_a_dead_letter_goes_to_the_topics_dead_letter_topic_under_the_same_key() -> None:
    record = build()

    assert record.topic == "order.created.dlq"
    assert record.key == b"order-1"


def test_the_value_is_the_specifications_with_an_error_member() -> None:
    value = build().value
    assert value is not None
    found = json.loads(value)

    assert found.pop("error") == {
        "message": "Connection unexpectedly closed",
        "attempts": 4,
        "lastAttemptAt": "2023-11-14T22:13:56.789Z",
        "stackTrace": FAILURE.stack_trace,
    }
    assert found == json.loads(EVENT)


def test_the_headers_say_who_failed_why_and_where_it_came_from() -> None:
    record = build()

    assert dict(record.headers) == {
        "dlq-group": b"email-service-group",
        "dlq-reason": b"exhausted",
        "dlq-attempts": b"4",
        "dlq-error-type": b"smtplib.SMTPServerDisconnected",
        "dlq-error-message": b"Connection unexpectedly closed",
        "dlq-topic": b"order.created",
        "dlq-partition": b"3",
        "dlq-offset": b"4711",
        "dlq-timestamp": b"1700000000123",
        "dlq-first-failed-at": b"2023-11-14T22:13:21.000Z",
        "dlq-last-attempt-at": b"2023-11-14T22:13:56.789Z",
        "dlq-generation": b"0",
        "dlq-event-id": b"e-1",
        "dlq-splice": header(record, "dlq-splice"),
    }


def test_the_splice_header_cuts_the_error_out_byte_for_byte() -> None:
    record = build(b'{ "data" : 1.50 } \n')
    assert record.value is not None
    start, length = (int(number) for number in (header(record, "dlq-splice") or b"").split(b","))

    assert record.value[:start] + record.value[start + length :] == b'{ "data" : 1.50 } \n'
    assert set(json.loads(record.value)) == {"data", "error"}


@pytest.mark.parametrize("value", [b"{}", b"{ }", b" {}\r\n\t ", b'{"a":{}}', '{"ü":"}"}\n'.encode()])
def test_every_object_stays_json_with_its_members_and_the_error(value: bytes) -> None:
    record = build(value)
    assert record.value is not None

    assert json.loads(record.value) == {**json.loads(value), "error": json.loads(record.value)["error"]}
    assert read(record).value == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"}",
        b"{",
        b"not json }",
        b'{"a":1}}',
        b'{"a":NaN}',
        b'[{"a":1}]',
        b'"text}"',
        b"12",
        b'\xef\xbb\xbf{"a":12345678901234567890123}',
        '{"a":1}'.encode("utf-16"),
        b'{"\xff":1}',
        b"{" * 10_000 + b"}" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"\x00" * 1000 + b"}",
    ],
)
def test_a_value_that_is_no_json_object_stays_as_it_is_with_the_error_in_headers(value: bytes | None) -> None:
    record = build(value)

    assert record.value == value
    assert header(record, "dlq-splice") is None
    assert header(record, "dlq-stack-trace") == FAILURE.stack_trace.encode()
    assert read(record).value == value


def test_an_object_that_has_an_error_of_its_own_is_not_given_a_second() -> None:
    value = b'{"data":1,"error":{"message":"theirs"}}'
    record = build(value)

    assert record.value == value
    assert read(record).error_message == FAILURE.error_message


@given(garbage, st.none() | st.binary(), header_lists)
def test_whatever_was_in_the_record_comes_out_again(value: bytes | None, key: bytes | None, headers: Headers) -> None:
    dead_letter = read(build(value, key, headers))

    assert (dead_letter.value, dead_letter.key, dead_letter.headers) == (value, key, headers)
    assert dead_letter.problems == ()


@given(json_objects)
def test_a_json_object_stays_one_and_keeps_its_members(value: bytes) -> None:
    original = json.loads(value)
    record = build(value)
    assert record.value is not None

    found = json.loads(record.value)
    if "error" not in original:
        assert found.pop("error")["attempts"] == 4
    assert found == original


@given(
    st.builds(
        Failure,
        group=st.just(GROUP),
        reason=st.sampled_from(Reason),
        attempts=st.integers(0, 10**6),
        error_type=st.text(st.characters(codec="utf-8"), max_size=100),
        error_message=st.text(st.characters(codec="utf-8"), max_size=200),
        stack_trace=st.text(st.characters(codec="utf-8"), max_size=300),
        first_failed_at_ms=st.integers(0, 10**13),
        last_attempt_at_ms=st.integers(0, 10**13),
        generation=st.integers(0, 1000),
    ),
    st.builds(Origin, st.just("cart.updated"), st.integers(0, 10**5), st.integers(0, 2**62), st.integers(-1, 10**13)),
    garbage,
)
def test_the_failure_and_the_origin_come_out_again(failure: Failure, origin: Origin, value: bytes | None) -> None:
    found = read(build(value, origin=origin, failure=failure))

    assert found.origin == origin
    assert failure == Failure(
        group=found.group or "",
        reason=found.reason or Reason.CRASH,
        attempts=-1 if found.attempts is None else found.attempts,
        error_type="?" if found.error_type is None else found.error_type,
        error_message="?" if found.error_message is None else found.error_message,
        stack_trace="?" if found.stack_trace is None else found.stack_trace,
        first_failed_at_ms=-1 if found.first_failed_at_ms is None else found.first_failed_at_ms,
        last_attempt_at_ms=-1 if found.last_attempt_at_ms is None else found.last_attempt_at_ms,
        generation=found.generation,
    )


# What is cut


@given(texts, st.sampled_from(["", "x" * 999, "ä" * 5000, "漢字" * 3000, "😀" * 4000]), garbage)
def test_messages_and_stacks_are_cut_between_characters(text: str, padding: str, value: bytes | None) -> None:
    failure = replace(FAILURE, error_message=text + padding, error_type=text + padding, stack_trace=padding + text)
    record = build(value, failure=failure)
    found = read(record)

    for name, limit in (("dlq-error-message", 1000), ("dlq-error-type", 1000), ("dlq-stack-trace", 8000)):
        content = header(record, name)
        if content is not None:
            content.decode()
            assert len(content) <= limit
    assert found.stack_trace is not None
    assert len(found.stack_trace.encode()) <= 8000
    assert "\ufffd" not in found.stack_trace.replace(text, "")


def test_a_long_message_keeps_its_begin_and_says_that_it_was_cut() -> None:
    found = read(build(failure=replace(FAILURE, error_message="ä" * 600)))

    assert found.error_message == "ä" * 498 + "…"


def test_a_message_that_just_fits_is_not_cut() -> None:
    assert read(build(failure=replace(FAILURE, error_message="ä" * 500))).error_message == "ä" * 500


def test_a_long_stack_keeps_its_begin_and_its_end() -> None:
    stack = "Traceback\n" + "  frame 漢\n" * 2000 + "ValueError: at the very end\n"
    found = read(build(failure=replace(FAILURE, stack_trace=stack)))

    assert found.stack_trace is not None
    assert found.stack_trace.startswith("Traceback\n")
    assert found.stack_trace.endswith("ValueError: at the very end\n")
    assert "\n…\n" in found.stack_trace


# What is too large


@given(st.integers(0, 40_000), st.integers(0, 20_000), st.integers(0, 30), st.integers(15_000, 60_000), st.booleans())
def test_no_dead_letter_exceeds_the_limit(
    value_bytes: int, key_bytes: int, header_count: int, max_bytes: int, spliceable: bool
) -> None:
    value = b'{"data":"' + b"x" * value_bytes + b'"}' if spliceable else b"x" * value_bytes
    key, headers = b"k" * key_bytes, [("h", b"v" * 1000)] * header_count
    record = build(value, key, list(headers), max_bytes=max_bytes)
    found = read(record)

    assert record.size <= max_bytes
    assert found.error_message == FAILURE.error_message
    assert found.stack_trace == FAILURE.stack_trace
    assert found.origin == ORIGIN
    assert found.problems == ()
    for part, kept, original in (
        ("value", found.value, value),
        ("headers", found.headers, headers),
        ("key", found.key, key),
    ):
        assert kept == original or part in found.at_origin
    completed = found.completed(value, key, list(headers))
    assert (completed.value, completed.key, completed.headers) == (value, key, headers)
    assert not completed.at_origin


def test_a_dead_letter_that_just_fits_is_written_whole() -> None:
    whole = build(b'{"data":"' + b"x" * 5000 + b'"}')

    assert build(b'{"data":"' + b"x" * 5000 + b'"}', max_bytes=whole.size) == whole
    smaller = build(b'{"data":"' + b"x" * 5000 + b'"}', max_bytes=whole.size - 1)
    assert smaller.value is None
    assert header(smaller, "dlq-value") == b"at-origin"
    assert header(smaller, "dlq-splice") is None
    assert smaller.key == b"order-1"


def test_the_size_counts_key_value_headers_and_what_kafka_adds() -> None:
    empty = OutgoingRecord("t", None, None, []).size

    assert empty > 61, "a batch of one record has 61 bytes of its own"
    assert OutgoingRecord("t", b"12", b"345", []).size == empty + 5
    assert OutgoingRecord("t", None, None, [("ü", b"34"), ("n", None)]).size >= empty + 2 + 2 + 1 + 2


# Replays


def replayed(dead_letter: DeadLetter, offset: int = 0) -> tuple[OutgoingRecord, Origin]:
    record = deadletters.replay_record(dead_letter)
    return record, Origin(record.topic, 0, offset, 1_800_000_000_000)


def test_a_replay_goes_to_the_failed_group_alone_with_the_original_bytes() -> None:
    record, _ = replayed(read(build(headers=[("event-id", b"e-1"), ("x", None), ("x", b"2")])))

    assert record.topic == "email-service-group.replay"
    assert (record.key, record.value) == (b"order-1", EVENT)
    assert record.headers == [
        ("event-id", b"e-1"),
        ("x", None),
        ("x", b"2"),
        ("dlq-topic", b"order.created"),
        ("dlq-partition", b"3"),
        ("dlq-offset", b"4711"),
        ("dlq-timestamp", b"1700000000123"),
        ("dlq-generation", b"1"),
    ]


@pytest.mark.parametrize("headers", [[], [("event-id", b"another")], [("event-id", None), ("event-id", b"e")]])
def test_a_replay_carries_the_id_that_the_bus_knows_the_event_by(headers: Headers) -> None:
    record, _ = replayed(read(build(b"garbage", headers=headers, event_id="derived-1")))

    assert header(record, "event-id") == b"derived-1"


@given(garbage, st.none() | st.binary(), header_lists, st.integers(1, 4))
def test_an_event_that_fails_again_and_again_keeps_its_origin_and_its_bytes(
    value: bytes | None, key: bytes | None, headers: Headers, times: int
) -> None:
    headers = [("event-id", b"e-1")] + [header for header in headers if header[0] != "event-id"]
    record = build(value, key, headers)
    for generation in range(1, times + 1):
        replay, position = replayed(read(record), offset=generation)
        assert deadletters.generation_of(replay.headers) == generation
        assert deadletters.origin_of(replay.headers) == ORIGIN
        failure = replace(FAILURE, generation=generation, error_message=f"failure {generation}")
        record = build(replay.value, replay.key, replay.headers, position, failure)

    found = read(record)
    assert record.topic == "order.created.dlq"
    assert found.origin == ORIGIN
    assert found.generation == times
    assert found.error_message == f"failure {times}"
    assert (found.value, found.key, found.headers) == (value, key, headers)


def test_earlier_headers_of_ours_are_replaced_not_appended() -> None:
    record = build(headers=[("dlq-group", b"other"), ("dlq-whatever", b"1"), ("dlq-group", b"another")])

    assert header(record, "dlq-group") == GROUP.encode()
    assert header(record, "dlq-whatever") is None


def test_an_origin_that_an_ordinary_record_claims_is_not_believed() -> None:
    claimed = [("dlq-topic", b"user.deleted"), ("dlq-partition", b"0"), ("dlq-offset", b"1")]
    record = build(headers=[*claimed])

    assert record.topic == "order.created.dlq"
    assert read(record).origin == ORIGIN


@pytest.mark.parametrize(
    ("headers", "value", "topic"),
    [
        ([], EVENT, "order.created.dlq"),
        ([("event-type", b"cart.updated")], b"garbage", "cart.updated.dlq"),
        ([("dlq-topic", b"user.updated")], b"garbage", "user.updated.dlq"),
        (
            [("dlq-topic", b"order.created.dlq"), ("dlq-partition", b"0"), ("dlq-offset", b"0")],
            EVENT,
            "order.created.dlq",
        ),
        ([], b"garbage", f"{GROUP}.replay.dlq"),
    ],
)
def test_a_stray_record_on_the_replay_topic_ends_where_its_type_belongs(
    headers: Headers, value: bytes, topic: str
) -> None:
    record = build(value, headers=headers, origin=Origin(f"{GROUP}.replay", 0, 9))

    assert record.topic == topic


def test_what_is_only_at_the_origin_must_be_fetched_before_a_replay() -> None:
    found = read(build(b"x" * 20_000, max_bytes=10_000))

    with pytest.raises(ValueAtOriginError, match=r"order\.created"):
        deadletters.replay_record(found)
    completed = found.completed(b"x" * 20_000, b"order-1", [])
    assert deadletters.replay_record(completed).value == b"x" * 20_000


def test_a_dead_letter_without_a_group_is_not_replayed_but_can_go_back_to_its_topic() -> None:
    found = deadletters.read(EVENT, b"k", [("x", b"1")], "order.created.dlq")

    with pytest.raises(ValueError, match="group"):
        deadletters.replay_record(found)
    record = deadletters.original_record(found, "order.created")
    assert record == OutgoingRecord("order.created", b"k", EVENT, [("x", b"1"), ("event-id", b"e-1")])


# Foreign dead letters


def test_the_specifications_dead_letter_without_headers_is_understood() -> None:
    error = {"message": "boom", "attempts": 3, "lastAttemptAt": "2024-01-15T10:35:00.000Z", "stackTrace": "Error: …"}
    value = json.dumps({**json.loads(EVENT), "error": error}).encode()
    found = deadletters.read(value, None, [], "order.created.dlq")

    assert (found.event_id, found.event_type) == ("e-1", "order.created")
    assert (found.error_message, found.attempts, found.stack_trace) == ("boom", 3, "Error: …")
    assert found.last_attempt_at_ms == 1_705_314_900_000
    assert found.value == value
    assert set(found.problems) == {"origin is missing", "group is missing", "reason is missing"}


def test_a_dead_letter_of_nothing_says_what_is_missing() -> None:
    found = deadletters.read(None, None, [], "order.created.dlq")

    assert found.event_type == "order.created"
    assert "event id is missing" in found.problems
    assert "group is missing" in found.problems


def test_an_id_that_nobody_wrote_down_is_derived_from_the_origin() -> None:
    assert read(build(b"garbage", event_id=None)).event_id == derived_event_id("order.created", 3, 4711)


@pytest.mark.parametrize(
    "splice",
    [None, b"", b"x", b"1", b"1,2,3", b"-1,5", b"0,0", b"0,1", b"5,99999", b"9999999999999999999999,1", b"1,30"],
)
def test_a_splice_that_does_not_fit_leaves_the_value_alone(splice: bytes | None) -> None:
    found = deadletters.read(EVENT, None, [("dlq-splice", splice)])

    assert found.value == EVENT
    assert "dlq-splice doesn't fit the value" in found.problems


names = st.sampled_from(
    [getattr(deadletters, name) for name in dir(deadletters) if str(getattr(deadletters, name)).startswith("dlq-")]
)
contents = st.none() | st.binary() | st.sampled_from([b"1", b"-1", b"at-origin", b"9" * 5000, b"order.created", b"1,5"])


@given(
    garbage | st.builds(lambda error: json.dumps({"metadata": error, "error": error}).encode(), json_values),
    st.none() | st.binary(),
    st.lists(st.tuples(names | st.text(), contents), max_size=20),
    st.none() | st.text(),
)
def test_reading_never_raises(value: bytes | None, key: bytes | None, headers: Headers, topic: str | None) -> None:
    found = deadletters.read(value, key, headers, topic)

    if found.group is not None and not found.at_origin:
        deadletters.replay_record(found)


@given(json_values)
def test_reading_never_raises_for_odd_members(member: Any) -> None:
    value = json.dumps({"metadata": {"eventId": member, "eventType": member}, "error": {"attempts": member}}).encode()

    deadletters.read(value, None, [])
