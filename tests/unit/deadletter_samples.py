"""Records, failures and what they are made of, for the tests of dead letters."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from bus import deadletters
from bus.deadletters import DeadLetter, Failure, Origin, OutgoingRecord, Reason
from bus.envelope import Headers

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
