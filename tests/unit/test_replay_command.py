"""`manage.py replay`: what it says before it sends, and what it refuses."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from bus.models import LetterStatus, Replay
from tests.indexed import index, letter, record

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def three() -> None:
    index([record(0), record(1, error_type="TimeoutError"), record(2, "payment.failed", group="shipping")])


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command("replay", *arguments, stdout=out, stderr=out, **options)
    return out.getvalue()


def test_a_dry_run_says_what_would_be_replayed_and_sends_nothing() -> None:
    said = run("--all", "--dry-run")
    assert "3 dead letters" in said
    assert "payment.failed of shipping" in said
    assert "isn't in the catalog" in said
    assert "Nothing was sent" in said
    assert letter(0).status == LetterStatus.OPEN
    assert Replay.objects.get().state == Replay.State.CANCELLED


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        (["--topic", "order.created"], 2),
        (["--group", "shipping"], 1),
        (["--error", "TimeoutError"], 1),
        (["--text", "4711"], 3),
        (["--since", "2026-01-01T00:00Z"], 3),
    ],
)
def test_filters_choose(arguments: list[str], total: int) -> None:
    run(*arguments, "--no-wait", "--rate", "5", "--canary", "1")
    replay = Replay.objects.get()
    assert (replay.total, replay.state, replay.rate, replay.canary) == (total, Replay.State.RUNNING, 5, 1)
    assert replay.created_by.endswith("(command)")


def test_ids_choose() -> None:
    run("--id", str(letter(0).pk), "--id", str(letter(2).pk), "--no-wait")
    assert Replay.objects.get().total == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say which"),
        (["--id", "1", "--topic", "order.created"], "either --id or a filter"),
        (["--topic", "nothing.here"], "no open dead letter fits"),
        (["--id", "4711"], "no dead letter 4711"),
        (["--all", "--since", "yesterday"], "2h, 30m, 7d"),
        (["--all", "--since", "99999999999999d"], "2h, 30m, 7d"),
        (["--all", "--until", ""], "2h, 30m, 7d"),
        (["--all", "--rate", "0"], "rate"),
        (["--follow", "4711"], "no replay 4711"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        run(*arguments)
