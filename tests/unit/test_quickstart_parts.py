from __future__ import annotations

import socket
import stat
import time
from pathlib import Path
from typing import Any, cast

import pytest
from django.contrib.auth.models import User

from bus.errors import ConfigurationError, LedgerUnavailableError
from bus.presence import GroupPresence, Presence, WorkerPresence
from eventconsole.api import tokens
from eventconsole.models import Scope
from eventconsole.quickstart import account, place, plan, readiness
from eventconsole.quickstart.changes import Changes
from eventconsole.quickstart.readiness import Services


@pytest.mark.django_db
def test_the_account_is_an_administrator_and_its_token_has_every_scope(tmp_path: Path) -> None:
    made = account.provide(tmp_path)
    user = User.objects.get(username=made.username)
    assert user.is_superuser
    assert user.is_staff
    assert user.check_password(made.password)
    caller = tokens.load_caller(tokens.digest_of(made.token))
    assert caller is not None
    assert caller.scopes == frozenset(Scope)
    assert stat.S_IMODE((tmp_path / "account.json").stat().st_mode) == 0o600


@pytest.mark.django_db
def test_the_account_survives_a_restart(tmp_path: Path) -> None:
    assert account.provide(tmp_path) == account.provide(tmp_path)


@pytest.mark.django_db
def test_a_password_or_token_that_no_longer_works_is_replaced(tmp_path: Path) -> None:
    first = account.provide(tmp_path)
    user = User.objects.get(username=first.username)
    user.set_password("another")
    user.save()
    tokens.revoke_tokens("quickstart")
    second = account.provide(tmp_path)
    assert second.username == first.username
    assert User.objects.get(username=second.username).check_password(second.password)
    assert tokens.load_caller(tokens.digest_of(second.token)) is not None


@pytest.mark.django_db
def test_an_administrator_that_the_folder_does_not_know_is_not_touched(tmp_path: Path) -> None:
    User.objects.create_superuser("admin", password="theirs")
    made = account.provide(tmp_path)
    assert made.username != "admin"
    assert User.objects.get(username="admin").check_password("theirs")


@pytest.mark.django_db
def test_an_account_file_that_cannot_be_read_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "account.json").write_text("{")
    assert User.objects.filter(username=account.provide(tmp_path).username).exists()


class Workers:
    """Stands in for the presence in Redis."""

    def __init__(self, *entries: WorkerPresence, error: Exception | None = None) -> None:
        self._entries = entries
        self._error = error

    def all(self) -> list[WorkerPresence]:
        if self._error:
            raise self._error
        return list(self._entries)


def worker(seen_at: float, **partitions: dict[str, int]) -> WorkerPresence:
    groups = tuple(GroupPresence(group, held, 0.0, 0, 0.0, 0) for group, held in partitions.items())
    return WorkerPresence("w", "h", 1, "b", "v", 1, started_at=0, seen_at=seen_at, groups=groups)


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (Workers(), False),
        (Workers(worker(10, one={"t[0]": 0}, two={"t[0]": 0})), True),
        (Workers(worker(10, one={"t[0]": 0}), worker(11, two={"t[0]": 0})), True),
        (Workers(worker(10, one={"t[0]": 0}, two={})), False),
        (Workers(worker(4, one={"t[0]": 0}, two={"t[0]": 0})), False),
        (Workers(error=LedgerUnavailableError("away")), False),
    ],
    ids=["nobody", "one for both", "one each", "no partition yet", "from before", "redis away"],
)
def test_consumers_have_joined_when_every_group_has_partitions(workers: Workers, expected: bool) -> None:
    assert readiness.have_joined(cast(Presence, workers), ["one", "two"], since=5) is expected


def test_the_banner_hides_the_password_of_a_redis_that_is_not_ours(tmp_path: Path) -> None:
    services = Services("k:9092", False, "rediss://:secret@redis.example:6379/0", False)
    text = readiness.banner("http://127.0.0.1:1", account.Account("a", "p", "t"), services, tmp_path, 1.0)
    assert "secret" not in text
    assert "rediss://redis.example:6379/0" in text
    assert "memory" not in text


def test_no_answer_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not readiness.answers(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1)
    assert not readiness.answers("http://127.0.0.1:1", timeout=0.1)


def test_a_folder_belongs_to_one_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with (
        place.own_folder(folder),
        pytest.raises(ConfigurationError, match="QUICKSTART_DIR"),
        place.own_folder(folder),
    ):
        pass
    with place.own_folder(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_port_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="PORT: 3007 given"):
        place.listen(3007, tmp_path, host="192.0.2.1")


def test_a_stale_ready_file_is_not_taken_for_a_running_quickstart(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        place.write_ready(tmp_path, {"url": f"http://127.0.0.1:{port + 1}"})
        with pytest.raises(ConfigurationError, match="by another program"):
            place.listen(port, tmp_path)


def test_every_program_of_ours_gets_some_time_to_stop(tmp_path: Path) -> None:
    redis = plan.embedded_redis(1, tmp_path)
    programs = [redis, plan.kafka(tmp_path), plan.monitor({}), plan.consumers({}), plan.web(1, {}), plan.traffic({}, 5)]
    halves = sum(program.grace for program in programs) / 2
    assert halves < plan.STOP_SECONDS < 10
    assert plan.consumers({}).grace > plan.DRAIN_SECONDS
    assert not plan.kafka(tmp_path).restarts
    assert [program.name for program in programs if program.reloads] == ["monitor", "consumers", "web"]


def test_changes_names_files_of_ours_that_changed_once(tmp_path: Path) -> None:
    source = tmp_path / "handlers.py"
    source.write_text("one")
    with Changes([tmp_path, tmp_path / "missing"]) as changes:
        deadline = time.monotonic() + 20
        seen: list[str] = []
        # Until the watch is up a change may go unseen.
        while not seen and time.monotonic() < deadline:
            source.write_text(str(time.monotonic()))
            (tmp_path / "db.sqlite3").write_text("x")
            time.sleep(0.2)
            seen = changes.take()
        assert seen == [str(source)]


def test_without_watchfiles_reload_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(name: str) -> Any:
        return None

    monkeypatch.setattr("eventconsole.quickstart.changes.find_spec", find_nothing)
    with pytest.raises(ConfigurationError, match="make dev"):
        Changes([])
