"""`manage.py replay`: what it says before it sends, and what it refuses."""

from __future__ import annotations

import sys
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError

from bus.management.commands import replay as command
from bus.models import LetterStatus, Replay
from bus.replay.engine import Engine
from tests.indexed import index, letter, record

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def three() -> None:
    index([record(0), record(1, error_type="TimeoutError"), record(2, "payment.failed", group="shipping")])


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command("replay", *arguments, **{"stdout": out, "stderr": out, **options})
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


class Following(Engine):
    """Sends a third at a time; every event is handled but the last, whose outcome is another error."""

    def follow(self, replay_id: int) -> Replay:
        replay = Replay.objects.get(pk=replay_id)
        if replay.sent < 3:
            replay.sent += 1
        elif replay.handled < 2:
            replay.handled += 1
        else:
            replay.failed_again_other, replay.state = 1, Replay.State.COMPLETED
        replay.save()
        return replay


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_a_bar_that_grows_until_every_outcome_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "Engine", Following)
    monkeypatch.setattr(command, "_DRAW_SECONDS", 0.0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    said = run("--all", stderr=terminal)

    drawn = [line for line in terminal.getvalue().split("\r\x1b[K") if line]
    assert drawn[0].startswith("[" + "." * 30 + "] 0/3  sent 1")
    assert drawn[-1].startswith("[" + "#" * 30 + "] 3/3  sent 3  handled 2  failed again 1")
    assert any(line.startswith("[##########....") for line in drawn)
    assert "completed: 2 handled, 1 failed again (0 with the same error, 1 with another), 0 skipped" in said


def test_a_database_that_goes_away_is_said_with_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(Following):
        def follow(self, replay_id: int) -> Replay:
            raise OperationalError("server closed the connection")

    monkeypatch.setattr(command, "Engine", Cut)
    with pytest.raises(CommandError, match=r"server closed the connection; go on with: manage.py replay --follow \d+"):
        run("--all")
