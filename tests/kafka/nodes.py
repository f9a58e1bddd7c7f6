"""Apache Kafka from its jars: one node, or three, each a broker and a controller."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.kafka.contact import brokers_seen
from tests.kafka.jars import jars, java
from tests.processes import BoundProcess, StartError, accepts, free_ports

READY_SECONDS = 60.0
# Quick rebalances, quick loss detection and little memory: what a test waits for, not what a cluster should have.
FOR_TESTS = """
auto.create.topics.enable=false
delete.topic.enable=true
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.heartbeat.interval.ms=300
group.consumer.min.heartbeat.interval.ms=300
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=2000
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.num.partitions=1
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1500
replica.lag.time.max.ms=3000
num.network.threads=2
num.io.threads=4
num.replica.fetchers=1
num.recovery.threads.per.data.dir=1
background.threads=2
log.index.size.max.bytes=65536
log.cleaner.dedupe.buffer.size=2097152
log.retention.check.interval.ms=5000
"""


class KafkaNode:
    """One process of Kafka; its port and its data outlive stop and start."""

    def __init__(self, number: int, folder: Path, ports: Sequence[int], voters: str, replicas: int) -> None:
        self.number = number
        self.port = ports[0]
        self._folder = folder
        self._properties = folder / "server.properties"
        self._process: BoundProcess | None = None
        folder.mkdir(parents=True)
        self._properties.write_text(
            f"process.roles=broker,controller\nnode.id={number}\nlog.dirs={folder / 'data'}\n"
            f"controller.quorum.voters={voters}\n"
            f"listeners=PLAINTEXT://127.0.0.1:{ports[0]},CONTROLLER://127.0.0.1:{ports[1]}\n"
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{ports[0]}\n"
            "controller.listener.names=CONTROLLER\n"
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            f"{replication(replicas)}{FOR_TESTS}"
        )

    def format(self, cluster_id: str) -> None:
        """Prepare the empty data folder; never again once it holds data."""
        # With `=`, because an id may begin with a hyphen.
        command = [*_java("-Xmx128m"), "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}"]
        done = subprocess.run(
            [*command, "-c", str(self._properties)], capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise StartError(f"StorageTool format failed: {(done.stdout + done.stderr)[-2000:]}")

    def launch(self) -> None:
        """Start the process, without waiting until it answers."""
        command = [*_java("-Xms64m", "-Xmx384m"), "kafka.Kafka", str(self._properties)]
        self._process = BoundProcess(command, self._folder / "server.log")

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until it accepts connections. Raises StartError."""
        if self._process is None:
            raise StartError(f"node {self.number} was not started")
        self._process.wait_ready(lambda: accepts(self.port), seconds)

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.returncode is None

    def stop(self, graceful: bool = False) -> None:
        """Kill the process, or let it move its leaderships away first."""
        if self._process is None:
            return
        if graceful:
            self._process.stop(30)
        else:
            self._process.kill()
        self._process = None


class KafkaFromJars:
    """Kafka as processes of this machine, stopped and started node by node."""

    can_stop = True

    def __init__(self, folder: Path, nodes: int = 1) -> None:
        """Make and start the nodes. Raises MissingJarsError or StartError."""
        ports = free_ports(2 * nodes)
        pairs = [(ports[2 * index], ports[2 * index + 1]) for index in range(nodes)]
        voters = ",".join(f"{index + 1}@127.0.0.1:{pair[1]}" for index, pair in enumerate(pairs))
        self.nodes = [
            KafkaNode(index + 1, folder / f"node-{index + 1}", pair, voters, nodes) for index, pair in enumerate(pairs)
        ]
        self.bootstrap = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        with ThreadPoolExecutor(nodes) as pool:
            list(pool.map(lambda node: node.format(cluster_id), self.nodes))
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Start every node that is down, with its port and its data, and wait until all answer."""
        self._launch([node for node in self.nodes if not node.running])

    def stop(self) -> None:
        """Kill every node: the brokers are gone without a word, the data stay."""
        for node in self.nodes:
            node.stop()

    def close(self) -> None:
        """End every node, and leave the data to the folder's owner."""
        self.stop()

    def start_node(self, number: int) -> None:
        """Start a node (1, 2, …) again and wait until the cluster counts it in."""
        self._launch([self.nodes[number - 1]])

    def stop_node(self, number: int, graceful: bool = False) -> None:
        """Kill a node (1, 2, …); graceful: it hands its leaderships over and says goodbye."""
        self.nodes[number - 1].stop(graceful)

    def _launch(self, nodes: Sequence[KafkaNode]) -> None:
        for node in nodes:
            node.launch()
        for node in nodes:
            node.wait_ready()
        running = sum(node.running for node in self.nodes)
        brokers_seen(self.bootstrap, running, READY_SECONDS)


def replication(nodes: int) -> str:
    """Properties that spread the internal topics over the nodes, so that one may be lost of three."""
    in_sync = 2 if nodes > 2 else 1
    return (
        f"default.replication.factor={nodes}\nmin.insync.replicas={in_sync}\n"
        f"offsets.topic.replication.factor={nodes}\n"
        f"transaction.state.log.replication.factor={nodes}\ntransaction.state.log.min.isr={in_sync}\n"
        f"share.coordinator.state.topic.replication.factor={nodes}\nshare.coordinator.state.topic.min.isr={in_sync}\n"
    )


def _java(*memory: str) -> list[str]:
    command = java()
    if command is None:
        raise StartError("no Java that is new enough")
    # The serial collector and the first compiler alone: a node is ready in half the time and takes half the memory.
    options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    return [command, *memory, *options, "-cp", f"{jars()}/*"]
