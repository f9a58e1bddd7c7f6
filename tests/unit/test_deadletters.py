"""Dead letters as DESIGN.md section 4 describes them: nothing of the original is ever lost or changed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.deadletters import Failure, Origin, OutgoingRecord, Reason
from bus.envelope import Headers
from tests.unit.deadletter_samples import (
    EVENT,
    FAILURE,
    GROUP,
    ORIGIN,
    build,
    garbage,
    header,
    header_lists,
    json_objects,
    read,
    texts,
)

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
