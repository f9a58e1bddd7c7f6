"""Redis for tests: one server that can go away and come back, or a Redis Cluster of three."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.processes import BoundProcess, accepts, free_ports, wait_until

SLOTS = 16384
READY_SECONDS = 15.0


class NoRedisServerError(Exception):
    """There is no redis-server on the PATH."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a Redis is, and of which kind."""

    url: str
    cluster: bool = False

    def client(self) -> redis.Redis:
        """A new client; the caller closes it. Typed as the plain one, whose commands the cluster's client shares."""
        kind = redis.RedisCluster if self.cluster else redis.Redis
        return kind.from_url(self.url)  # type: ignore[return-value]

    def flush(self) -> None:
        """Empty it."""
        with self.client() as client:
            if isinstance(client, redis.RedisCluster):
                client.flushall(target_nodes=redis.RedisCluster.PRIMARIES)
            else:
                client.flushall()


class RedisServer:
    """A `redis-server` that keeps its port, and its data if asked to, from stop to start."""

    def __init__(self, folder: Path, durable: bool = False, options: Sequence[str] = ()) -> None:
        """Start it. Raises NoRedisServerError or StartError."""
        server = shutil.which("redis-server")
        if server is None:
            raise NoRedisServerError("no redis-server on the PATH (apt install redis-server)")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_ports(1)[0]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._command = [
            *(server, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""),
            *("--appendonly", "yes" if durable else "no", "--appendfsync", "always", "--daemonize", "no"),
            *("--maxmemory-policy", "noeviction", "--loglevel", "notice", *options),
        ]
        self._process: BoundProcess | None = None
        self.start()

    def start(self) -> None:
        """Start it at the same address and wait until it answers."""
        if self._process is None:
            self._process = BoundProcess(self._command, self._folder / "redis.log")
            self._process.wait_ready(lambda: accepts(self.port), READY_SECONDS)

    def stop(self) -> None:
        """Kill it: clients see their connections reset."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def freeze(self) -> None:
        """Let it stand still: clients keep their connections and get no answer."""
        if self._process is not None:
            self._process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """End a freeze: it answers what it was asked meanwhile, whether or not anybody still listens."""
        if self._process is not None:
            self._process.signal(signal.SIGCONT)


class RedisCluster:
    """Three masters that share the slots; no replicas."""

    def __init__(self, folder: Path, nodes: int = 3) -> None:
        """Start and join the nodes. Raises NoRedisServerError or StartError."""
        with ExitStack() as started:
            self.servers: list[RedisServer] = []
            for number in range(nodes):
                server = RedisServer(folder / f"node-{number + 1}", options=_cluster_options())
                started.callback(server.stop)
                self.servers.append(server)
            self.url = self.servers[0].url
            self._join()
            self._stop = started.pop_all()

    def stop(self) -> None:
        """Kill every node."""
        self._stop.close()

    def _join(self) -> None:
        share = SLOTS // len(self.servers)
        clients = [redis.Redis.from_url(server.url) for server in self.servers]
        try:
            for number, client in enumerate(clients):
                last = SLOTS - 1 if number == len(clients) - 1 else (number + 1) * share - 1
                client.cluster("ADDSLOTSRANGE", number * share, last)
                # Different epochs from the start: nodes that claim the same one would spend seconds on settling it.
                client.cluster("SET-CONFIG-EPOCH", number + 1)
            for server in self.servers[1:]:
                # The bus port is named because it isn't port + 10000, which might be taken.
                clients[0].cluster("MEET", "127.0.0.1", server.port, _bus_port(server))
            wait_until(
                lambda: all(_sees_all(client, len(clients)) for client in clients), READY_SECONDS, "the Redis Cluster"
            )
        finally:
            for client in clients:
                client.close()


def _cluster_options() -> list[str]:
    return [
        *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "5000"),
        *("--cluster-port", str(free_ports(1)[0])),
    ]


def _bus_port(server: RedisServer) -> int:
    with redis.Redis.from_url(server.url) as client:
        return int(client.config_get("cluster-port")["cluster-port"])


def _sees_all(client: redis.Redis, nodes: int) -> bool:
    told = client.cluster("INFO")
    return told["cluster_state"] == "ok" and int(told["cluster_known_nodes"]) == nodes
