"""`manage.py quickstart`, as `make up` starts it."""

from __future__ import annotations

import http.cookiejar
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.e2e.quickstarts import ROOT, Quickstart, descendants, environment_of, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

Start = Callable[..., Quickstart]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quickstart]:
    """One that several tests look at, without traffic so that what they see is theirs."""
    quickstart = Quickstart(tmp_path_factory.mktemp("quickstart") / "folder", "--no-traffic")
    try:
        quickstart.wait_until_ready()
        yield quickstart
    finally:
        quickstart.stop()
        quickstart.kill()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts one of this test's own."""
    started: list[Quickstart] = []

    def begin(*arguments: str, folder: str = "folder", **environment: str) -> Quickstart:
        started.append(Quickstart(tmp_path / folder, *arguments, **environment))
        return started[-1]

    yield begin
    for quickstart in started:
        quickstart.kill()


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A start that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "manage.py", *(arguments or ("quickstart",))],
        cwd=ROOT,
        env=environment_of(folder, **environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def dead_letters(brokers: str) -> int:
    """How many there are in all dead letter topics."""
    reader = Consumer({"bootstrap.servers": brokers, "group.id": "dead-letters", "log_level": 0})
    with closing(reader):
        topics = reader.list_topics(timeout=10).topics
        return sum(
            reader.get_watermark_offsets(TopicPartition(name, partition), timeout=10)[1]
            for name, topic in topics.items()
            if name.endswith(".dlq")
            for partition in topic.partitions
        )


def port_of(quickstart: Quickstart) -> str:
    return str(quickstart.ready["url"]).rpartition(":")[2]


def test_ready_json_says_where_all_is_and_only_its_owner_may_read_it(running: Quickstart) -> None:
    assert set(running.ready) == {"url", "username", "password", "token", "kafka_brokers", "redis_url"}
    assert stat.S_IMODE(running.ready_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(running.folder.stat().st_mode) == 0o700


def test_it_prints_address_login_and_token_and_that_events_are_in_memory_only(running: Quickstart) -> None:
    said = running.said()
    for name in ("url", "username", "password", "token", "kafka_brokers"):
        assert running.ready[name] in said
    assert "in memory only" in said


def test_health_is_ok_and_says_what_it_leans_on(running: Quickstart) -> None:
    assert running.call("/api/health/live")[0] == 200
    status, answer = running.call("/api/health/ready")
    assert (status, answer["status"]) == (200, "ok")
    assert answer["dependencies"]


def test_the_token_may_everything_and_another_nothing(running: Quickstart) -> None:
    event = {"topic": "user.updated", "data": {"userId": "U-1"}}
    assert running.call("/api/events/publish", event)[0] in (200, 201, 202)
    assert running.call("/api/events/publish", event, token="evc_wrong")[0] == 401


def test_the_login_is_an_administrators(running: Quickstart) -> None:
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar))
    address = f"{running.ready['url']}/admin/login/"
    page = browser.open(address, timeout=15).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token
    form = {
        "csrfmiddlewaretoken": token[1],
        "username": running.ready["username"],
        "password": running.ready["password"],
        "next": "/admin/",
    }
    with browser.open(address, urllib.parse.urlencode(form).encode(), timeout=15) as response:
        assert response.url == f"{running.ready['url']}/admin/"
        assert "Site administration" in response.read().decode()


def test_an_event_published_over_http_is_processed(running: Quickstart) -> None:
    event_id = running.publish("order.created", {"orderId": "ORD-1", "customerId": "C-1"})
    wait_until(lambda: running.status_of(event_id) == "PROCESSED", 20, "PROCESSED")
    answer = running.call(f"/api/events/processed/{event_id}")[1]
    assert answer["data"]["processed"] is True


def test_a_second_start_on_the_same_port_says_so_in_one_line(running: Quickstart) -> None:
    second = run(running.folder, PORT=port_of(running))
    assert second.returncode != 0
    assert len((second.stdout + second.stderr).strip().splitlines()) == 1
    assert f"already runs at {running.ready['url']}" in second.stderr
    assert running.ready_file.exists()


def test_a_second_start_in_the_same_folder_says_so_in_one_line(running: Quickstart) -> None:
    second = run(running.folder)
    assert second.returncode != 0
    assert len((second.stdout + second.stderr).strip().splitlines()) == 1
    assert "QUICKSTART_DIR" in second.stderr
    assert running.ready_file.exists()


def test_a_port_that_another_program_has_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        refused = run(tmp_path / "folder", PORT=str(other.getsockname()[1]))
    assert refused.returncode != 0
    assert "is taken by another program" in refused.stderr
    assert len((refused.stdout + refused.stderr).strip().splitlines()) == 1


def test_production_has_no_quickstart(tmp_path: Path) -> None:
    refused = run(tmp_path / "folder", APP_ENV="production", SECRET_KEY="x" * 40)
    assert refused.returncode != 0
    assert "make prod" in refused.stderr


@pytest.mark.parametrize(("given", "missing"), [({}, "KAFKA_BROKERS"), ({"KAFKA_BROKERS": "127.0.0.1:1"}, "REDIS_URL")])
def test_serving_embeds_nothing(tmp_path: Path, given: dict[str, str], missing: str) -> None:
    refused = run(tmp_path / "folder", "serve", APP_ENV="production", SECRET_KEY="x" * 40, **given)
    assert refused.returncode != 0
    assert f"{missing}: nothing given" in refused.stderr


def test_a_worker_that_dies_is_started_again_and_said_so(running: Quickstart) -> None:
    before = running.pid_of("run_consumer")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: "consumers died (signal SIGKILL), starting it again" in running.said(), 10, "the line")
    event_id = running.publish("order.created", {"orderId": "ORD-2"})
    wait_until(lambda: running.status_of(event_id) == "PROCESSED", 45, "PROCESSED")
    assert running.pid_of("run_consumer") != before


def test_a_redis_that_dies_comes_back_at_the_same_address(running: Quickstart) -> None:
    before = running.pid_of("-server 127.0.0.1")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: "redis died" in running.said(), 10, "the line")
    wait_until(lambda: running.call("/api/health/ready")[1].get("status") == "ok", 20, "health")
    assert running.ready["redis_url"] in running.ready_file.read_text()
    event_id = running.publish("order.created", {"orderId": "ORD-3"})
    wait_until(lambda: running.status_of(event_id) == "PROCESSED", 45, "PROCESSED")


def test_a_kafka_that_dies_is_replaced_and_all_that_depends_on_it_follows(running: Quickstart) -> None:
    before = running.ready["kafka_brokers"]
    os.kill(running.pid_of("bus.embedded.kafka"), signal.SIGKILL)
    wait_until(lambda: "kafka is back" in running.said(), 60, "another Kafka")
    running.wait_until_ready()
    assert running.ready["kafka_brokers"] != before
    event_id = running.publish("order.created", {"orderId": "ORD-4"})
    wait_until(lambda: running.status_of(event_id) == "PROCESSED", 30, "PROCESSED")


def test_traffic_flows_into_dead_letters_and_all_stops_in_order_within_ten_seconds(start: Start) -> None:
    quickstart = start("--rate", "30", BUS_RETRY_DELAYS="0.2,0.2,0.2")
    quickstart.wait_until_ready()
    assert quickstart.pid_of("demo_traffic")
    wait_until(lambda: dead_letters(quickstart.ready["kafka_brokers"]) > 0, 40, "a dead letter")
    assert quickstart.memory() < 500 * 1024 * 1024
    took = quickstart.stop()
    assert took < 10
    assert quickstart.process.returncode == 0
    assert quickstart.left_over() == {}
    assert not quickstart.ready_file.exists()
    # Customers of a shop that is closing don't matter; on a busy machine they are late.
    assert set(re.findall(r"(\w+) didn't stop within", quickstart.said())) <= {"traffic"}


def test_traffic_can_be_left_out_and_ctrl_c_stops_all(start: Start) -> None:
    quickstart = start(QUICKSTART_TRAFFIC="0")
    quickstart.wait_until_ready()
    assert not any("demo_traffic" in command for command in quickstart.known.values())
    assert quickstart.stop(signal.SIGINT) < 10
    assert quickstart.process.returncode == 0
    assert quickstart.left_over() == {}


def test_stopping_while_it_starts_leaves_nothing(start: Start) -> None:
    quickstart = start("--no-traffic")
    wait_until(lambda: "run_consumer" in " ".join(descendants(quickstart.process.pid).values()), 40, "a worker")
    quickstart.known = descendants(quickstart.process.pid)
    assert quickstart.stop() < 10
    assert quickstart.left_over() == {}
    assert not quickstart.ready_file.exists()


def test_a_killed_one_leaves_nothing_and_the_next_starts_clean_with_the_same_login(start: Start) -> None:
    first = start("--no-traffic")
    first.wait_until_ready()
    event_id = first.publish("order.created", {"orderId": "ORD-1"})
    wait_until(lambda: first.status_of(event_id) == "PROCESSED", 20, "PROCESSED")
    assert len(first.known) >= 5
    first.kill()
    wait_until(lambda: not first.left_over(), 5, "the end of all")
    # It left its ready.json behind, and the next must not take it for its own.
    assert first.ready_file.exists()
    second = start("--no-traffic")
    wait_until(
        lambda: not second.ready_file.exists() or second.process.poll() is not None, 20, "the end of the old ready.json"
    )
    second.wait_until_ready()
    for name in ("username", "password", "token"):
        assert second.ready[name] == first.ready[name]
    assert second.status_of(event_id) is None
    again = second.publish("order.created", {"orderId": "ORD-1"})
    wait_until(lambda: second.status_of(again) == "PROCESSED", 20, "PROCESSED")
    second.stop()


def test_the_demo_can_be_left_out_altogether(start: Start) -> None:
    quickstart = start("--without-demo")
    quickstart.wait_until_ready()
    commands = " ".join(quickstart.known.values())
    assert "demo_traffic" not in commands
    assert "run_consumer" not in commands
    assert quickstart.call("/api/health/live")[0] == 200
    quickstart.stop()


def test_what_runs_a_file_is_restarted_when_the_file_changes(start: Start, tmp_path: Path) -> None:
    app = tmp_path / "extra"
    app.mkdir()
    (app / "__init__.py").touch()
    code = (
        "from bus.handlers import handler\n"
        "@handler('user.deleted', group='analytics-service-group')\n"
        "def one(data, metadata):\n    print({words!r}, flush=True)\n"
    )
    (app / "handlers.py").write_text(code.format(words="the old way"))
    quickstart = start("--reload", "--no-traffic", BUS_DEMO="false", BUS_EXTRA_APPS="extra", PYTHONPATH=str(tmp_path))
    quickstart.wait_until_ready()
    log = quickstart.folder / "logs" / "consumers.log"
    quickstart.publish("user.deleted", {"userId": "1"})
    wait_until(lambda: "the old way" in log.read_text(), 20, "the first handler")
    before = quickstart.pid_of("run_consumer"), quickstart.pid_of("daphne")
    (app / "handlers.py").write_text(code.format(words="the new way"))
    wait_until(lambda: "handlers.py changed" in quickstart.said(), 10, "the line")
    quickstart.publish("user.deleted", {"userId": "2"})
    wait_until(lambda: "the new way" in log.read_text(), 30, "the second handler")
    after = quickstart.pid_of("run_consumer"), quickstart.pid_of("daphne")
    assert not set(before) & set(after)
    quickstart.stop()
