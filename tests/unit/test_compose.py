"""`docker-compose.yml` and `Dockerfile` against the product that they run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from bus.catalog import CONSUMER_GROUPS
from bus.conf import BusSettings, variable_of
from eventconsole.conf import ConsoleSettings
from eventconsole.demo.catalog import INVENTORY, ORDER, PAYMENT

ROOT = Path(__file__).resolve().parent.parent.parent
SPECIFIED_GROUPS = {value for name, value in vars(CONSUMER_GROUPS).items() if name.isupper()}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert isinstance(found, dict)
    return found


def ours(services: dict[str, Any]) -> dict[str, Any]:
    return {name: service for name, service in services.items() if "build" in service}


def variables() -> set[str]:
    return {variable_of(model, field) for model in (BusSettings, ConsoleSettings) for field in model.model_fields}


def test_there_is_one_consumer_service_for_each_group(services: dict[str, Any]) -> None:
    commands = [service["command"] for name, service in services.items() if name.startswith("consumer-")]

    assert all(command[:4] == ["python", "manage.py", "run_consumer", "--group"] for command in commands)
    assert sorted(command[4] for command in commands) == sorted(SPECIFIED_GROUPS | {ORDER, PAYMENT, INVENTORY})
    assert all(len(command) == 5 for command in commands)


def test_everything_the_specification_names_is_there(services: dict[str, Any]) -> None:
    assert {"kafka", "kafka-ui", "redis", "postgres", "web", "monitor", "setup"} <= set(services)
    assert "127.0.0.1:8080:8080" in services["kafka-ui"]["ports"]
    assert services["kafka"]["image"].startswith("apache/kafka:4.")
    assert "controller" in services["kafka"]["environment"]["KAFKA_PROCESS_ROLES"]


def test_commands_exist() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    named = set(re.findall(r'manage\.py"?,? "?([a-z_]+)', text))
    assert {"migrate", "create_topics", "run_consumer", "run_monitor", "demo_traffic"} == named
    assert named <= set(get_commands())


def test_settings_exist(services: dict[str, Any]) -> None:
    for service in ours(services).values():
        assert set(service["environment"]) <= variables()


def test_images_are_pinned_and_nothing_runs_as_root(services: dict[str, Any]) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    images = [service["image"] for service in services.values()] + re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)

    assert [image for image in images if not re.search(r":v?\d+\.\d+|:\d+-", image)] == []
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE) == ["console"]
    # The images of Kafka and of its UI have a user of their own.
    root = [name for name, service in services.items() if "build" not in service and "user" not in service]
    assert sorted(root) == ["kafka", "kafka-ui"]


def test_nothing_listens_beyond_this_machine(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]

    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_everything_waits_for_what_it_needs(services: dict[str, Any]) -> None:
    for name, service in ours(services).items():
        needed = service["depends_on"]
        assert needed["kafka"] == {"condition": "service_healthy"}
        assert needed["postgres"] == {"condition": "service_healthy"}
        if name != "setup":
            assert needed["setup"] == {"condition": "service_completed_successfully"}
            assert needed["redis"] == {"condition": "service_healthy"}
    for name in ("kafka", "kafka-ui", "redis", "postgres", "web"):
        assert services[name]["healthcheck"]["test"]


def test_what_must_be_kept_is_in_a_named_volume(services: dict[str, Any]) -> None:
    named = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"]

    for name in ("kafka", "redis", "postgres", "web"):
        mounted = [volume.split(":")[0] for volume in services[name]["volumes"]]
        assert mounted
        assert set(mounted) <= set(named)


def test_consumers_are_given_longer_to_stop_than_their_handlers_have(services: dict[str, Any]) -> None:
    drain = BusSettings.model_fields["drain_seconds"].default

    for name, service in services.items():
        if name.startswith("consumer-"):
            assert int(service["stop_grace_period"].removesuffix("s")) > drain


def test_the_image_is_made_of_files_that_are_there_and_let_in() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    copied = set(re.findall(r"^COPY (\S+) ", dockerfile, re.MULTILINE)) - {"--from=build"}
    assert copied == let_in
    assert all((ROOT / path).exists() for path in copied)
    assert "--require-hashes" in dockerfile


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose isn't installed")
def test_docker_compose_accepts_the_file() -> None:
    done = subprocess.run(
        ["docker-compose", "config", "--quiet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
