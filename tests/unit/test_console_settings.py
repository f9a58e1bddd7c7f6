"""The console's settings: what is refused at start, and what follows from what is given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bus.conf import load
from bus.errors import ConfigurationError
from eventconsole.conf import BASE_DIR, ConsoleSettings
from tests.unit.test_env_example import clean

__all__ = ["clean"]

KEY = "k" * 32


@pytest.mark.parametrize(
    ("variable", "given", "allowed"),
    [
        ("APP_ENV", "staging", "'development' or 'production'"),
        ("PORT", "http", "integer"),
        ("PORT", "65536", "65535"),
        ("CORS_ORIGIN", "localhost:3000", "scheme://host"),
        ("CORS_ORIGIN", "http://localhost:3000/", "scheme://host"),
        ("CSRF_TRUSTED_ORIGINS", "example.org", "scheme://host"),
        ("DATABASE_URL", "nosuch://host/db", "postgres://"),
        ("SECRET_KEY", "short", "32"),
        ("DEBUG", "perhaps", "boolean"),
        ("LOG_LEVEL", "LOUD", "'DEBUG', 'INFO'"),
        ("BUS_HSTS_SECONDS", "-1", "0"),
        ("BUS_MAX_BODY_BYTES", "many", "integer"),
        ("BUS_DEMO", "x", "boolean"),
    ],
)
def test_a_wrong_value_names_the_variable_what_was_given_and_what_is_allowed(
    clean: pytest.MonkeyPatch, variable: str, given: str, allowed: str
) -> None:
    clean.setenv(variable, given)
    with pytest.raises(ConfigurationError) as refused:
        load(ConsoleSettings)
    assert str(refused.value).startswith(variable)
    assert allowed in str(refused.value)
    assert (given in str(refused.value)) is (variable not in ("SECRET_KEY", "DATABASE_URL"))


def test_production_demands_a_secret_key_and_has_secure_cookies(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("APP_ENV", "production")
    with pytest.raises(ConfigurationError, match="SECRET_KEY: nothing given"):
        load(ConsoleSettings)
    clean.setenv("SECRET_KEY", KEY)
    settings = load(ConsoleSettings)
    assert (settings.has_secure_cookies, settings.with_demo, settings.debug) == (True, False, False)
    assert settings.key() == KEY
    clean.setenv("BUS_SECURE_COOKIES", "false")
    assert load(ConsoleSettings).has_secure_cookies is False


def test_development_makes_a_secret_key_once_that_only_its_owner_reads(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clean.setenv("QUICKSTART_DIR", str(tmp_path / "new" / "folder"))
    settings = load(ConsoleSettings)
    made = settings.key()
    assert len(made) >= 32
    assert settings.key() == made
    (kept,) = (tmp_path / "new" / "folder").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_folder_of_its_own_has_a_database_of_its_own(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load(ConsoleSettings).database["NAME"] == str(BASE_DIR / "db.sqlite3")
    clean.setenv("QUICKSTART_DIR", ".quickstart")
    assert load(ConsoleSettings).database["NAME"] == str(BASE_DIR / "db.sqlite3")
    clean.setenv("QUICKSTART_DIR", str(tmp_path))
    database = load(ConsoleSettings).database
    assert database["NAME"] == str(tmp_path / "db.sqlite3")
    assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert database["OPTIONS"]["timeout"] == 20
    assert "journal_mode=WAL" in database["OPTIONS"]["init_command"]


def test_postgresql_comes_from_its_address(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("DATABASE_URL", "postgres://user:p%40ss@db.example:5433/events")
    database = load(ConsoleSettings).database
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["HOST"], database["PORT"], database["PASSWORD"]) == ("db.example", 5433, "p@ss")
    assert "init_command" not in database.get("OPTIONS", {})


def test_lists_are_comma_separated(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("CORS_ORIGIN", "http://localhost:3000, https://shop.example")
    clean.setenv("ALLOWED_HOSTS", "a.example,b.example")
    settings = load(ConsoleSettings)
    assert settings.cors_origin == ("http://localhost:3000", "https://shop.example")
    assert settings.allowed_hosts == ("a.example", "b.example")


def manage(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env={**kept, "BUS_ENV_FILE": "", "QUICKSTART_DIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_manage_reports_a_wrong_setting_in_one_line(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", PORT="http")
    assert done.returncode != 0
    assert done.stderr.startswith("Configuration: PORT: 'http' given, allowed is")
    assert len(done.stderr.splitlines()) == 1
    done = manage(tmp_path, "check", BUS_RETRY_DELAYS="5,x")
    assert done.stderr.startswith("Configuration: BUS_RETRY_DELAYS")


def test_the_settings_of_production_pass_djangos_own_check(tmp_path: Path) -> None:
    environment = {"APP_ENV": "production", "SECRET_KEY": "aB3$" * 16 + "xyzw!?", "BUS_HSTS_SECONDS": "31536000"}
    done = manage(tmp_path, "check", "--deploy", "--fail-level", "ERROR", **environment)
    assert done.returncode == 0, done.stderr
    for tag in ("W009", "W012", "W016", "W018", "W020"):  # key, cookies, debug, hosts
        assert f"security.{tag}" not in done.stderr


def test_apps_of_a_team_are_installed_by_name(tmp_path: Path) -> None:
    ask = "from django.apps import apps; print(apps.is_installed('django.contrib.humanize'))"
    done = manage(tmp_path, "shell", "-c", ask, BUS_EXTRA_APPS="django.contrib.humanize")
    assert done.stdout.strip().endswith("True")
    done = manage(tmp_path, "check", BUS_EXTRA_APPS="no_such_app")
    assert "no_such_app" in done.stderr


def test_no_model_lacks_a_migration(tmp_path: Path) -> None:
    done = manage(tmp_path, "makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout
