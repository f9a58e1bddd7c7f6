"""What README.md says, against the code."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from bus import catalog, handlers
from bus.catalog import CONSUMER_GROUPS, TOPICS
from bus.conf import BusSettings, variable_of
from bus.ledger import Status
from bus.producer.client import PublishOptions
from eventconsole.api import bodies
from eventconsole.conf import BASE_DIR, ConsoleSettings
from eventconsole.demo.catalog import INVENTORY, ORDER, PAYMENT

README = (BASE_DIR / "README.md").read_text()
SETTINGS: tuple[type[BaseSettings], ...] = (BusSettings, ConsoleSettings)
#: Variables that aren't settings of the service.
OTHERS = {"BUS_ENV_FILE"}


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(text: str, first: str) -> list[list[str]]:
    """The cells of the table whose head begins with `first`, without its head."""
    found = re.findall(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found, first
    lines = [line for table in found for line in table.splitlines()]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines]


def shown(value: Any) -> str:
    """A default as the table shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value.relative_to(BASE_DIR))
    if isinstance(value, tuple):
        return ",".join(shown(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_every_setting_is_in_the_table_with_its_default_and_no_other_is() -> None:
    documented = {name: default for name, default, _ in rows(section("Settings"), "variable")}

    real = {
        variable_of(model, name): shown(field.default)
        for model in SETTINGS
        for name, field in model.model_fields.items()
    }
    assert documented == real


def test_every_setting_is_explained() -> None:
    assert [row for row in rows(section("Settings"), "variable") if len(row[2]) < 10] == []


def test_every_variable_that_is_mentioned_exists() -> None:
    mentioned = set(re.findall(r"\b(?:BUS|KAFKA|REDIS|QUICKSTART)_[A-Z_]+\b", README))

    assert mentioned - {variable_of(model, name) for model in SETTINGS for name in model.model_fields} == OTHERS


def test_every_command_and_flag_exists() -> None:
    apps = get_commands()
    used: list[tuple[str, str]] = re.findall(r"manage\.py ([a-z_]+)([^`\n]*)", README)
    table = {row[0].split()[1]: row[1] for row in rows(section("Commands"), "command")}

    assert {name for name, _ in used} <= set(apps)
    for name, rest in [*used, *table.items()]:
        app = apps[name]
        parser = load_command_class(app, name).create_parser("manage.py", name)
        flags = set(re.findall(r"(--[a-z][a-z-]*)", rest))
        assert flags <= {option for action in parser._actions for option in action.option_strings}, name


def test_every_command_of_ours_is_in_the_table() -> None:
    ours = {name for name, app in get_commands().items() if str(app).split(".")[0] in ("bus", "eventconsole")}
    documented = {row[0].split()[1] for row in rows(section("Commands"), "command")}

    assert documented - {"check"} == ours


def test_every_make_target_is_in_the_table_and_no_other_is() -> None:
    targets = re.findall(r"^([a-z0-9-]+):.*## ", (BASE_DIR / "Makefile").read_text(), re.MULTILINE)
    documented = [row[0].removeprefix("make ") for row in rows(section("Commands"), "target")]

    assert sorted(documented) == sorted(targets)
    assert set(re.findall(r"`?make ([a-z][a-z-]*)`?[\s`]", " ".join(blocks("bash")))) <= set(targets)


def test_every_topic_and_group_is_named() -> None:
    named = section("Topics and groups")
    topics = {value for name, value in vars(TOPICS).items() if name.isupper()}
    groups = {value for name, value in vars(CONSUMER_GROUPS).items() if name.isupper()} | {ORDER, PAYMENT, INVENTORY}

    assert set(re.findall(r"`([a-z]+\.[a-z_]+)`", named)) == topics
    assert set(re.findall(r"`([a-z-]+-group)`", named)) == groups


def test_the_statuses_and_how_long_they_are_kept_are_those_of_the_ledger() -> None:
    table = rows(section("What becomes of an event"), "status")
    seconds = BusSettings.model_fields

    assert {row[0] for row in table} == set(Status)
    hours = {"1 h": seconds["dedup_seconds"].default, "24 h": seconds["failed_seconds"].default}
    assert hours == {"1 h": 3600, "24 h": 86400}
    assert {row[0]: row[2] for row in table} == {
        "PENDING": "1 h",
        "PROCESSING": "24 h",
        "RETRYING": "24 h",
        "PROCESSED": "1 h",
        "FAILED": "24 h",
    }


def test_every_option_of_handlers_and_of_publish_is_real_and_named() -> None:
    handler_options = {
        name
        for row in rows(section("Write a handler"), "option of `@handler`")
        for name in re.findall(r"[a-z_]+", row[0])
    }
    named = re.search(r"bus\.publish\(topic, data, ([^)]*)\)", README)
    assert named

    annotations = set(handlers.handler.__annotations__) - {"topics", "group", "return"}
    assert handler_options == annotations
    assert set(re.findall(r"([a-z_]+)=…", named[1])) <= set(PublishOptions.__annotations__)


def test_the_bodies_of_the_examples_are_taken_and_the_answers_are_real() -> None:
    bodies_sent = [json.loads(body) for block in blocks("bash") for body in re.findall(r"-d '([^']*)'", block)]

    assert len(bodies_sent) == 2
    for body in bodies_sent:
        event = bodies.PublishRequest.model_validate(body)
        model = catalog.topics()[event.topic].model
        assert model is not None
        model.model_validate(event.data)
    for answer in blocks("json"):
        bodies.PublishAnswer.model_validate_json(answer)


def test_the_examples_are_python() -> None:
    for block in blocks("python"):
        ast.parse(block)


def test_the_example_app_works_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "billing").mkdir()
    (tmp_path / "billing" / "__init__.py").touch()
    for block in blocks("python"):
        name = re.match(r"# (billing/\w+\.py)\n", block)
        assert name
        (tmp_path / name[1]).write_text(block)
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "eventconsole.settings", "PYTHONPATH": str(tmp_path)}
    environment |= {"BUS_EXTRA_APPS": "billing", "QUICKSTART_DIR": str(tmp_path), "BUS_ENV_FILE": ""}

    def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(BASE_DIR / "manage.py"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    checked = manage("check")
    refused = manage("run_consumer", "--group", "no-such-group")

    assert checked.returncode == 0, checked.stderr
    assert refused.returncode != 0
    assert "billing-service-group" in refused.stderr


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_files_that_are_linked_exist(link: str) -> None:
    assert (BASE_DIR / link).is_file()


def test_every_case_of_the_specification_has_a_remedy() -> None:
    titles = re.findall(r"^### (.*)", section("Troubleshooting"), re.MULTILINE)

    assert titles == [
        "Kafka connection failed",
        "Consumer lag grows",
        "Events are not consumed",
        "Dead letters pile up",
    ]
