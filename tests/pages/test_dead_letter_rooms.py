"""The live parts of the dead letter and replay pages: the same parts that the views drew, by what the viewer may do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.test import Client

from bus.deadletterindex.pages import LetterFilter
from bus.replay import operations
from bus.replay.plan import Choice, plan
from eventconsole.live import rooms
from eventconsole.live.rooms import ParamsProblem
from tests.pages.conftest import HOSTILE, is_escaped
from tests.pages.test_dead_letter_pages import fail

pytestmark = pytest.mark.django_db
READER, OPERATOR = frozenset({"read"}), frozenset({"read", "replay"})


def shown(name: str, scopes: frozenset[str] = OPERATOR, **params: str) -> tuple[str, object]:
    room = rooms.find(name)
    assert room is not None
    content = room.render(room.validated(params), scopes)
    return "\n".join(content.pieces), content.data


def test_list_tells_ids_and_cards_so_that_rows_can_stay_where_they_are() -> None:
    letters = [fail(number) for number in range(3)]
    html, data = shown("dead-letters", filter="topic:order.created")
    assert data == {"letters": [each.pk for each in reversed(letters)], "errors": [letters[0].fingerprint]}
    assert 'id="dead-letters-answer"' in html
    assert f'id="error-{letters[0].fingerprint}"' in html
    assert "<tr" not in html


def test_parts_of_a_room_are_those_of_the_page(operator: Client) -> None:
    letter = fail(1)
    page = operator.get(f"/dead-letters/{letter.pk}").content.decode()
    html, _ = shown("dead-letter", id=str(letter.pk))
    for part in ("letter-heading", "letter-state", "letter-history"):
        assert f'id="{part}"' in page
        assert f'id="{part}"' in html


def test_buttons_are_those_that_the_viewer_may_press() -> None:
    letter = fail(1)
    for name, params in (("dead-letters", {}), ("dead-letter", {"id": str(letter.pk)})):
        assert "You lack the permission" in shown(name, READER, **params)[0]
        assert "You lack the permission" not in shown(name, OPERATOR, **params)[0]


def test_progress_moves_and_says_its_state() -> None:
    fail(1)
    replay = plan(Choice(LetterFilter(status="open")), "ann", datetime.now(UTC), set()).replay
    html, data = shown("replay", id=str(replay.pk))
    assert data == {"state": "planned"}
    assert 'id="operation-' not in html
    operations.run(replay.pk, "ann", datetime.now(UTC))
    html, data = shown("replay", id=str(replay.pk), state="waiting")
    assert data == {"state": "running"}
    assert f'id="operation-{replay.pk}"' in html
    assert f"Replay {replay.pk}" in shown("replays")[0]


def test_wrong_parameters_are_refused() -> None:
    for name, params in (
        ("dead-letters", {"filter": "topik:a"}),
        ("dead-letters", {"groups": "-1"}),
        ("dead-letter", {"id": "x"}),
        ("replay", {"id": "1", "cursor": "a"}),
    ):
        with pytest.raises(ParamsProblem):
            shown(name, OPERATOR, **params)


def test_hostile_text_stays_text() -> None:
    letter = fail(1, error_type=HOSTILE, error_message=HOSTILE, group=HOSTILE)
    for name, params in (("dead-letters", {}), ("dead-letter", {"id": str(letter.pk)})):
        assert is_escaped(shown(name, OPERATOR, **params)[0].encode())
