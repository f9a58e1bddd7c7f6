"""Apache Kafka in containers, through testcontainers, where a container engine runs."""

from __future__ import annotations

import base64
import os
import subprocess
import uuid
from typing import Any

from tests.kafka.contact import brokers_seen
from tests.kafka.jars import kafka_version
from tests.kafka.nodes import FOR_TESTS, READY_SECONDS, replication
from tests.processes import free_ports

_INSIDE, _CONTROL = 29092, 29093


def engine_runs() -> bool:
    """Whether a container engine answers; a client without an engine says no at once."""
    try:
        asked = subprocess.run(["docker", "info"], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


class KafkaInDocker:
    """Kafka as containers on a network of their own; brokers talk inside it, tests through ports of 127.0.0.1."""

    can_stop = True

    def __init__(self, nodes: int = 1) -> None:
        """Make and start the containers."""
        from testcontainers.core.network import Network

        self._network = Network().create()
        ports = free_ports(nodes)
        self._voters = ",".join(f"{number}@kafka-{number}:{_CONTROL}" for number in range(1, nodes + 1))
        self._cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._containers = [self._container(index + 1, port, nodes) for index, port in enumerate(ports)]
        self._running: set[int] = set()
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in ports)
        try:
            for container in self._containers:
                container.start()
            self._running = set(range(1, nodes + 1))
            brokers_seen(self.bootstrap, nodes, READY_SECONDS)
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start every stopped container, with its port and its data, and wait until all answer."""
        for number in range(1, len(self._containers) + 1):
            if number not in self._running:
                self._containers[number - 1].get_wrapped_container().start()
                self._running.add(number)
        brokers_seen(self.bootstrap, len(self._running), READY_SECONDS)

    def stop(self) -> None:
        """Kill every node: the brokers are gone without a word, the data stay."""
        for number in sorted(self._running):
            self.stop_node(number)

    def start_node(self, number: int) -> None:
        """Start a node (1, 2, …) again and wait until the cluster counts it in."""
        self._containers[number - 1].get_wrapped_container().start()
        self._running.add(number)
        brokers_seen(self.bootstrap, len(self._running), READY_SECONDS)

    def stop_node(self, number: int, graceful: bool = False) -> None:
        """Kill a node (1, 2, …); graceful: it hands its leaderships over and says goodbye."""
        container = self._containers[number - 1].get_wrapped_container()
        if graceful:
            container.stop(timeout=30)
        else:
            container.kill()
        self._running.discard(number)

    def close(self) -> None:
        """Remove the containers and their network."""
        for container in self._containers:
            container.stop(force=True)
        self._network.remove()

    def _container(self, number: int, port: int, nodes: int) -> Any:
        from testcontainers.core.container import DockerContainer

        properties = (
            f"process.roles=broker,controller\nnode.id={number}\ncontroller.quorum.voters={self._voters}\n"
            f"listeners=INSIDE://0.0.0.0:{_INSIDE},OUTSIDE://0.0.0.0:{port},CONTROLLER://0.0.0.0:{_CONTROL}\n"
            f"advertised.listeners=INSIDE://kafka-{number}:{_INSIDE},OUTSIDE://127.0.0.1:{port}\n"
            "inter.broker.listener.name=INSIDE\ncontroller.listener.names=CONTROLLER\n"
            "listener.security.protocol.map=INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            f"{replication(nodes)}{FOR_TESTS}"
        )
        container = DockerContainer(os.environ.get("TEST_KAFKA_IMAGE", f"apache/kafka:{kafka_version()}"))
        container = container.with_network(self._network).with_network_aliases(f"kafka-{number}")
        container = container.with_bind_ports(port, port).with_env("CLUSTER_ID", self._cluster_id)
        for line in properties.split():
            name, value = line.split("=", 1)
            container = container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        return container
