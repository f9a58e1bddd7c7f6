"""Edit and replay: what may be changed, what the model refuses, and what is said of the difference."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from bus import catalog, deadletters, envelope
from bus.deadletters import DeadLetter
from bus.errors import EventTooLargeError, InvalidEventError
from bus.replay.edit import Edit, edited
from tests.indexed import record


class OrderData(BaseModel):
    n: int


@pytest.fixture(autouse=True)
def topic_with_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_topics", catalog.topics())
    catalog.add_topic("test.edited", "A topic of a test", OrderData)


def original(key: str | None = "ann") -> DeadLetter:
    made = record(7, "test.edited", key)
    return deadletters.read(made.value(), made.key(), made.headers() or [], "test.edited.dlq")


def edit(**changes: Any) -> Any:
    return edited(original(), "test.edited", Edit(**changes), "copy-1")


def test_the_copy_is_an_event_of_its_own_and_says_how_it_differs() -> None:
    copy = edit(data={"n": 8}, key="bob", headers={"priority": "high", "correlation-id": None, "note": "fixed"})
    event = envelope.decode(copy.value)
    assert (event.metadata.event_id, event.metadata.correlation_id, event.data) == ("copy-1", "correlation-7", {"n": 8})
    assert copy.key == b"bob"
    headers = dict(copy.headers)
    assert (headers["priority"], headers["note"], headers["event-type"]) == (b"high", b"fixed", b"test.edited")
    assert "correlation-id" not in headers
    assert {each["path"]: (each["before"], each["after"]) for each in copy.diff} == {
        "data.n": (7, 8),
        "key": ("ann", "bob"),
        "headers.correlation-id": ("correlation-7", None),
        "headers.note": (None, "fixed"),
        "headers.priority": ("normal", "high"),
    }


@pytest.mark.parametrize("name", ["event-id", "replay-of", "dlq-generation", "dlq-anything"])
@pytest.mark.parametrize("value", ["forged", None])
def test_locked_headers_are_refused(name: str, value: str | None) -> None:
    with pytest.raises(InvalidEventError, match="locked") as refused:
        edit(headers={name: value})
    assert refused.value.field == f"edit.headers.{name}"


def test_data_that_does_not_fit_the_model_is_refused_with_the_name_of_the_field() -> None:
    with pytest.raises(InvalidEventError) as refused:
        edit(data={"n": "many"})
    assert refused.value.field == "edit.data.n"


def test_an_edit_that_changes_nothing_is_refused() -> None:
    with pytest.raises(InvalidEventError, match="nothing differs"):
        edit(data={"n": 7}, key="ann", headers={"priority": "normal"})


def test_a_key_can_be_taken_away_and_stays_when_it_is_not_named() -> None:
    assert edit(key=None).key is None
    assert edit(data={"n": 8}).key == b"ann"


def test_an_original_that_cannot_be_read_needs_its_data_anew() -> None:
    broken = deadletters.read(b"not json", b"ann", original().headers, "test.edited.dlq")
    with pytest.raises(InvalidEventError) as refused:
        edited(broken, "test.edited", Edit(key="bob"), "copy-1")
    assert refused.value.field == "edit.data"
    copy = edited(broken, "test.edited", Edit(data={"n": 1}), "copy-1")
    assert envelope.decode(copy.value).data == {"n": 1}


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(EventTooLargeError):
        edited(original(), "test.edited", Edit(data={"n": 1}), "copy-1", max_bytes=50)


def test_not_a_number_is_refused() -> None:
    with pytest.raises(InvalidEventError):
        edit(data={"n": float("nan")})
