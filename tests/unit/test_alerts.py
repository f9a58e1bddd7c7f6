"""What is told of what is wrong: once when it begins, once when it is over, and nothing while nobody can tell."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from bus.alerts import delivery
from bus.alerts.task import Alerting
from bus.conf import BusSettings, load
from bus.errors import ConfigurationError
from bus.models import Alert, ClusterState, ErrorGroup, GroupState

pytestmark = pytest.mark.django_db

NIGHT = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)


class Receiver:
    """Takes what is told, or refuses it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.refuses = False

    def __call__(self, url: str, told: Mapping[str, Any], secret: str) -> None:
        if self.refuses:
            raise delivery.DeliveryError("the receiver answered 503")
        self.told.append((told["state"], told["id"]))


class Stage:
    def __init__(self) -> None:
        self.now = NIGHT
        self.receiver = Receiver()
        settings = BusSettings(alert_webhook="https://alerts.example.com/hook", alert_behind_seconds=60)
        self.settings = settings

    def look(self, seconds: float = 5) -> list[tuple[str, str]]:
        """Another look, so many seconds later, by a monitor that has just started; what was told."""
        self.now += timedelta(seconds=seconds)
        before = len(self.receiver.told)
        Alerting(self.settings, send=self.receiver, now=lambda: self.now).step()
        return self.receiver.told[before:]

    def cluster(self, age: float) -> None:
        asked_at = self.now - timedelta(seconds=age)
        ClusterState.objects.update_or_create(pk=ClusterState.THE_ONE, defaults={"asked_at": asked_at})

    def group(self, lag: int, behind: float | None, workers: int = 1, age: float = 0) -> None:
        GroupState.objects.update_or_create(
            name="orders",
            defaults={
                "is_ours": True,
                "lag": lag,
                "time_lag_seconds": behind,
                "workers": workers,
                "sampled_at": self.now - timedelta(seconds=age),
            },
        )


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_what_begins_and_ends_is_told_once_each(stage: Stage) -> None:
    stage.group(900, 61)
    assert stage.look() == [("begun", "group-behind:orders")]
    assert stage.look() == []
    stage.group(0, 0)
    assert stage.look() == [("ended", "group-behind:orders")]
    assert stage.look() == []


def test_a_group_on_the_edge_is_not_told_again_and_again(stage: Stage) -> None:
    stage.group(10, 61)
    stage.look()
    for behind in (59, 61, 40, 59):
        stage.group(10, behind)
        assert stage.look() == []
    stage.group(10, 29)
    assert stage.look() == [("ended", "group-behind:orders")]


def test_old_figures_end_nothing(stage: Stage) -> None:
    stage.group(10, 61, workers=0)
    assert len(stage.look()) == 2
    ClusterState.objects.create(asked_at=stage.now, error="connection refused")
    assert stage.look(120) == [("begun", "kafka-away:kafka")]
    assert Alert.objects.filter(ended_at=None).count() == 3


def test_what_cannot_be_told_is_told_later(stage: Stage) -> None:
    stage.group(10, 61)
    stage.receiver.refuses = True
    assert stage.look() == []
    assert "503" in Alert.objects.get().error
    stage.receiver.refuses = False
    assert stage.look(1) == [], "the pause isn't over"
    assert stage.look(10) == [("begun", "group-behind:orders")]


def test_what_was_over_before_it_could_be_told_is_not_told(stage: Stage) -> None:
    stage.group(10, 61)
    stage.receiver.refuses = True
    stage.look()
    stage.receiver.refuses = False
    stage.group(0, 0)
    assert stage.look(60) == []


def test_what_came_back_before_its_end_was_told_is_no_news(stage: Stage) -> None:
    stage.group(10, 61)
    stage.look()
    stage.receiver.refuses = True
    stage.group(0, 0)
    stage.look()
    stage.receiver.refuses = False
    stage.group(10, 61)
    assert stage.look(1) == []
    stage.group(0, 0)
    assert stage.look(1) == [("ended", "group-behind:orders")]


def test_a_new_error_is_told_and_is_known_after_an_hour(stage: Stage) -> None:
    fields = {"error_type": "SmtpError", "message": "refused", "open": 3}
    ErrorGroup.objects.create(fingerprint="f1", first_seen_at=NIGHT, last_seen_at=NIGHT, **fields)
    old = NIGHT - timedelta(days=3)
    ErrorGroup.objects.create(fingerprint="f2", first_seen_at=old, last_seen_at=NIGHT, **fields)
    assert stage.look() == [("begun", "new-error:f1")]
    assert stage.look(3700) == [("ended", "new-error:f1")]


def test_without_an_address_nothing_is_written(stage: Stage) -> None:
    stage.settings = BusSettings()
    stage.group(10, 61)
    assert stage.look() == []
    assert not Alert.objects.exists()


@pytest.mark.parametrize("address", ["ftp://x/y", "alerts.example.com", "https://"])
def test_an_address_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("BUS_ALERT_WEBHOOK", address)
    with pytest.raises(ConfigurationError, match="BUS_ALERT_WEBHOOK"):
        load(BusSettings)


# -- the request ----------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.requests.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
            if self.path == "/nonsense":
                self.wfile.write(b"220 mail.example.com ESMTP\r\n")
                return
            self.send_response({"/hook": 204, "/moved": 302}.get(self.path, 500))
            self.send_header("Location", "/hook")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Nobody reads it."""

    found = HTTPServer(("127.0.0.1", 0), Handler)
    found.requests = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


def test_what_is_sent_is_signed_json(server: HTTPServer) -> None:
    delivery.send(f"http://127.0.0.1:{server.server_port}/hook", {"id": "a"}, "secret")
    ((path, headers, body),) = server.requests  # type: ignore[attr-defined]
    assert (path, json.loads(body)) == ("/hook", {"id": "a"})
    assert headers[delivery.SIGNATURE] == delivery.signature(body, "secret")
    assert delivery.signature(body, "secret") != delivery.signature(body, "other")


@pytest.mark.parametrize("path", ["/moved", "/broken"])
def test_only_a_success_counts_and_redirects_are_not_followed(server: HTTPServer, path: str) -> None:
    with pytest.raises(delivery.DeliveryError, match="answered"):
        delivery.send(f"http://127.0.0.1:{server.server_port}{path}", {"id": "a"}, "")
    assert [each[0] for each in server.requests] == [path]  # type: ignore[attr-defined]


def test_nobody_there_is_an_error_as_well() -> None:
    with pytest.raises(delivery.DeliveryError, match="can't be reached"):
        delivery.send("http://127.0.0.1:1/hook", {}, "", timeout=0.5)


def test_an_answer_that_is_not_http_is_an_error_as_well(server: HTTPServer) -> None:
    """Any other exception would end the look, and keep all alerts behind this one from being told."""
    with pytest.raises(delivery.DeliveryError, match="BadStatusLine"):
        delivery.send(f"http://127.0.0.1:{server.server_port}/nonsense", {"id": "a"}, "")


def test_sampling_that_stands_still_is_told_and_a_monitor_that_was_away_is_not() -> None:
    stage = Stage()
    stage.cluster(age=9000)
    its_alerting = Alerting(stage.settings, send=stage.receiver, now=lambda: stage.now)

    def look(seconds: float) -> list[tuple[str, str]]:
        stage.now += timedelta(seconds=seconds)
        before = len(stage.receiver.told)
        its_alerting.step()
        return stage.receiver.told[before:]

    assert look(5) == [], "it has just started"
    stage.cluster(age=0)
    assert look(59) == []
    assert look(2) == [("begun", "figures-stale:monitor")]
    assert "UTC: see the monitor's log" in Alert.objects.get().summary
    assert stage.look(5) == [], "a monitor that starts doesn't know better"
    stage.cluster(age=0)
    assert look(5) == [("ended", "figures-stale:monitor")]
    assert look(3600) == [], "it was not this process that looked, or the database was away"
    stage.cluster(age=0)
    assert [look(30), look(31)] == [[], [("begun", "figures-stale:monitor")]]
