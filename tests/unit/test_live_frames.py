"""Frames that pages send: what is let through, and what is said about the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventconsole.live import frames
from eventconsole.live.frames import Ack, FrameProblem, Join, Leave

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_fields = ("v", "type", "id", "room", "params", "seq", "since", "instance")


def test_good_frames_are_what_they_say() -> None:
    join = frames.read('{"v":1,"type":"join","id":3,"room":"all","params":{"range":"1h"},"since":7,"instance":"x"}')
    assert join == Join(v=1, type="join", id=3, room="all", params={"range": "1h"}, since=7, instance="x")
    assert frames.read('{"v":1,"type":"leave","id":3}') == Leave(v=1, type="leave", id=3)
    assert frames.read('{"v":1,"type":"ack","seq":9}') == Ack(v=1, type="ack", seq=9)


@given(st.text(max_size=100) | _json.map(json.dumps) | st.dictionaries(st.sampled_from(_fields), _json).map(json.dumps))
def test_whatever_is_sent_is_a_frame_or_a_problem(text: str) -> None:
    try:
        frame = frames.read(text)
    except FrameProblem as problem:
        said = str(problem)
    else:
        said = str(frame)
    assert said


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"v": None}, "version 1"),
        ({"v": 2}, "version 1; reload the page"),
        ({"type": "subscribe"}, 'allowed are "join", "leave" and "ack"'),
        ({"id": 10_000}, "id: Input should be less than or equal to 9999"),
        ({"id": "1"}, "id: Input should be a valid integer"),
        ({"id": True}, "id: Input should be a valid integer"),
        ({"room": "../etc"}, "room: String should match pattern"),
        ({"room": "x" * 61}, "room: String should match pattern"),
        ({"params": {"a": "x" * 2001}}, "params.a: String should have at most 2000 characters"),
        ({"params": {f"a{number}": "" for number in range(21)}}, "params: Dictionary should have at most 20 items"),
        ({"params": {"a": ["x"]}}, "params.a: Input should be a valid string"),
        ({"since": -1}, "since: Input should be greater than or equal to 0"),
        ({"since": 2**53 + 1}, "since: Input should be less than or equal to"),
        ({"instance": "x" * 65}, "instance: String should have at most 64 characters"),
        ({"scope": "admin"}, "scope: Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(changed: dict[str, Any], says: str) -> None:
    frame = {"v": 1, "type": "join", "id": 1, "room": "overview", **changed}
    with pytest.raises(FrameProblem) as caught:
        frames.read(json.dumps(frame))
    assert says in str(caught.value)


def test_frames_are_bounded_before_they_are_read() -> None:
    with pytest.raises(FrameProblem, match="allowed are at most 16384"):
        frames.read('{"v":1,"type":"join","id":1,"room":"a","params":{' + '"a":"",' * 5000 + '"b":""}}')


def test_what_is_told_to_a_page_survives_being_written() -> None:
    hostile = '</script>\u2028\u202e"\\ \x00 😀'
    body = frames.body(frames.Fragment(as_of=5, room="a", html=hostile))
    assert json.loads(frames.whole(body, 7, 3)) == {
        "v": 1,
        "seq": 7,
        "id": 3,
        "asOf": 5,
        "type": "fragment",
        "room": "a",
        "html": hostile,
    }
