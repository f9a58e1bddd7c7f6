"""`.env.example` and the settings classes say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from bus.conf import BusSettings, load, variable_of
from eventconsole.conf import BASE_DIR, ConsoleSettings

EXAMPLE = BASE_DIR / ".env.example"
ADDRESSES = {"KAFKA_BROKERS", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB", "REDIS_URL", "DATABASE_URL"}
#: They show an example, because their default is no value that could be written.
EXAMPLES_ONLY = {"DATABASE_URL"}


def variables(*classes: type[BaseSettings]) -> list[str]:
    return [variable_of(each, field) for each in classes for field in each.model_fields]


def lines(pattern: str) -> dict[str, str]:
    return dict(re.findall(pattern, EXAMPLE.read_text(), re.MULTILINE))


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any of our variables."""
    for name in variables(BusSettings, ConsoleSettings):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BUS_ENV_FILE", "")
    return monkeypatch


def test_every_setting_is_there_once_and_nothing_else_is() -> None:
    found = re.findall(r"^#?([A-Z][A-Z_]*)=", EXAMPLE.read_text(), re.MULTILINE)
    assert sorted(found) == sorted(variables(BusSettings, ConsoleSettings))


def test_addresses_are_commented_out_so_that_a_copy_starts_the_embedded_services() -> None:
    assert ADDRESSES.isdisjoint(lines(r"^([A-Z_]+)=(.*)$"))


@pytest.mark.parametrize("settings", [BusSettings, ConsoleSettings])
def test_a_copy_changes_nothing(clean: pytest.MonkeyPatch, settings: type[BaseSettings]) -> None:
    before = load(settings)
    clean.setenv("BUS_ENV_FILE", str(EXAMPLE))
    assert load(settings) == before


@pytest.mark.parametrize("settings", [BusSettings, ConsoleSettings])
def test_what_is_commented_out_is_the_default(
    clean: pytest.MonkeyPatch, tmp_path: Path, settings: type[BaseSettings]
) -> None:
    before = load(settings)
    everything = tmp_path / "everything"
    shown = {**lines(r"^#([A-Z_]+)=(.*)$"), **lines(r"^([A-Z_]+)=(.*)$")}
    everything.write_text("".join(f"{name}={value}\n" for name, value in shown.items() if name not in EXAMPLES_ONLY))
    clean.setenv("BUS_ENV_FILE", str(everything))
    assert load(settings) == before
