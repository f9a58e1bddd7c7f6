"""What is read from dead letters, our own and foreign ones, and how they are delivered again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import deadletters
from bus.deadletters import DeadLetter, Origin, OutgoingRecord, ValueAtOriginError
from bus.envelope import Headers, derived_event_id
from tests.unit.deadletter_samples import (
    EVENT,
    FAILURE,
    GROUP,
    ORIGIN,
    build,
    garbage,
    header,
    header_lists,
    json_values,
    read,
)

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
        ([("dlq-topic", b"no.such"), ("dlq-partition", b"0"), ("dlq-offset", b"0")], EVENT, "order.created.dlq"),
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


def test_a_dead_letter_without_its_origin_is_not_replayed() -> None:
    found = deadletters.read(EVENT, b"k", [("dlq-group", GROUP.encode())], "order.created.dlq")

    with pytest.raises(ValueError, match="origin"):
        deadletters.replay_record(found)


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


def test_a_splice_that_ends_before_another_member_is_not_ours() -> None:
    value = b'{"error":{},"data":1}'

    assert deadletters.read(value, None, [("dlq-splice", b"1,10")]).value == value


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

    if found.group is not None and found.origin is not None and not found.at_origin:
        deadletters.replay_record(found)


@given(json_values)
def test_reading_never_raises_for_odd_members(member: Any) -> None:
    value = json.dumps({"metadata": {"eventId": member, "eventType": member}, "error": {"attempts": member}}).encode()

    deadletters.read(value, None, [])
