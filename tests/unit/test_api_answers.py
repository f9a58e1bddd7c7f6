"""Answers of the API."""

from __future__ import annotations

from eventconsole.api.answers import answer


def test_integers_of_any_size_are_answered() -> None:
    assert answer({"big": 2**70, "text": "ä"}).content == b'{"big":1180591620717411303424,"text":"\xc3\xa4"}'
