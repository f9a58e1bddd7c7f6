"""`manage.py pause_group`, `resume_group` and `reset_offsets`."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from bus.control import pauses
from tests.contract.test_offset_resets import Place, place  # noqa: F401 -- a fixture

pytestmark = pytest.mark.django_db(transaction=True)


def said(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_groups_are_paused_and_resumed(place: Place) -> None:  # noqa: F811
    assert "is paused; workers obey within 2 s" in said("pause_group", "--group", place.group, "--reason", "why not")
    (row,) = pauses.pauses_of(place.group)
    assert (row.topic, row.why, "(command)" in row.who) == ("", "why not", True)
    with pytest.raises(CommandError, match="paused already"):
        said("pause_group", "--group", place.group)
    assert place.topic in said("pause_group", "--group", place.group, "--topic", place.topic)
    assert "is resumed" in said("resume_group", "--group", place.group)
    assert [each.topic for each in pauses.pauses_of(place.group)] == [place.topic]
    with pytest.raises(CommandError, match="no group 'nobody' is ours"):
        said("resume_group", "--group", "nobody")


def test_offsets_are_shown_and_reset(place: Place) -> None:  # noqa: F811
    shown = said("reset_offsets", "--group", place.group, "--to", "earliest", "--dry-run")
    assert "30 events are read again, 0 are passed over" in shown
    assert "of 30 looked at, 0 are handled already and 0 are dead letters" in shown
    assert "Nothing was changed" in shown
    assert place.offsets()[place.topic, 0] == 15

    assert "1 partitions" in said("reset_offsets", "--group", place.group, "--offset", f"{place.topic}:1=7")
    assert place.offsets() == {(place.topic, 0): 15, (place.topic, 1): 7}
    assert "in epoch 1" in said("reset_offsets", "--group", place.group, "--to", "earliest", "--handle-again")
    assert place.offsets() == {(place.topic, 0): 0, (place.topic, 1): 0}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "either --to or --offset"),
        (("--to", "latest", "--offset", "a:0=1"), "either --to or --offset"),
        (("--to", "yesterday"), "allowed are earliest, latest, a time"),
        (("--offset", "order.created=7"), r"such as order\.created:0=1200"),
    ],
)
def test_what_can_not_be_is_refused(arguments: tuple[str, ...], problem: str) -> None:
    with pytest.raises(CommandError, match=problem):
        said("reset_offsets", "--group", "billing", *arguments)
