"""The harness itself: if these fail, no other test on Kafka or Redis means anything."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.errors import only_expected_errors
from tests.kafka.broker import KafkaCluster
from tests.kafka.contact import admin, committed, create_topic, end_offsets, produce, records_of, wait_for_leaders
from tests.kafka.subject import KafkaUnderTest
from tests.processes import BoundProcess, wait_until
from tests.redis_server import RedisAddress, RedisServer
from tests.worker.process import ROOT, Worker


def test_records_come_back_as_they_were_written(kafka: KafkaUnderTest, make_topic: Callable[..., str]) -> None:
    topic = make_topic("round-trip", partitions=2)
    produce(kafka.bootstrap, topic, [b"one", None, b"three"], b"key", [("event-id", b"7")])
    found = records_of(kafka.bootstrap, topic, 3)
    assert [(each.key(), each.value(), each.headers()) for each in found] == [
        (b"key", value, [("event-id", b"7")]) for value in (b"one", None, b"three")
    ]
    assert sorted(end_offsets(kafka.bootstrap, topic).values()) == [0, 3]
    assert committed(kafka.bootstrap, "nobody", topic) == {}


def test_a_stopped_kafka_comes_back_with_its_records(
    stoppable_kafka: KafkaUnderTest, make_topic: Callable[..., str]
) -> None:
    topic = make_topic("outage", partitions=1)
    produce(stoppable_kafka.bootstrap, topic, [b"before"])
    stoppable_kafka.stop()
    silent = logging.getLogger("tests.kafka.silent")
    client = Producer(
        {"bootstrap.servers": stoppable_kafka.bootstrap, "delivery.timeout.ms": 1000, "linger.ms": 0}, logger=silent
    )
    refused: list[object] = []
    client.produce(topic, b"during", on_delivery=lambda error, _: refused.append(error))
    client.flush(10)
    assert [error is None for error in refused] == [False]
    stoppable_kafka.start()
    produce(stoppable_kafka.bootstrap, topic, [b"after"])
    assert [each.value() for each in records_of(stoppable_kafka.bootstrap, topic, 2)] == [b"before", b"after"]


@pytest.mark.kafka
def test_three_nodes_go_on_without_one_of_them(kafka_cluster: KafkaCluster, unique: Callable[[str], str]) -> None:
    topic = unique("survivor")
    create_topic(kafka_cluster.bootstrap, topic, 3, 3, {"min.insync.replicas": "2"})
    produce(kafka_cluster.bootstrap, topic, [b"before"] * 30)
    kafka_cluster.stop_node(2)
    wait_for_leaders(admin(kafka_cluster.bootstrap), topic, 3)
    produce(kafka_cluster.bootstrap, topic, [b"after"] * 30)
    assert len(records_of(kafka_cluster.bootstrap, topic, 60)) == 60
    kafka_cluster.start_node(2)
    assert len(admin(kafka_cluster.bootstrap).list_topics(timeout=5).brokers) == 3


def test_every_redis_runs_scripts_on_keys_of_one_hash_tag(any_redis: RedisAddress) -> None:
    with any_redis.client() as client:
        script = client.register_script("redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[2])")
        for number in range(20):
            tag = f"{{{number}}}"
            assert script(keys=[f"a:{tag}", f"a:{tag}"], args=[number]) == str(number).encode()


def test_a_redis_that_comes_back_has_its_data(stoppable_redis: RedisServer) -> None:
    with RedisAddress(stoppable_redis.url).client() as client:
        client.set("kept", "yes")
    stoppable_redis.stop()
    stoppable_redis.start()
    with RedisAddress(stoppable_redis.url).client() as client:
        assert client.get("kept") == b"yes"


@pytest.mark.expects_errors("burnt down")
def test_an_expected_error_is_no_failure() -> None:
    logging.getLogger("bus.anything").error("the warehouse has burnt down")


def test_an_unexpected_error_is_a_failure(expect_errors: Callable[[str], None]) -> None:
    expect_errors("nobody expects this")
    with pytest.raises(AssertionError, match="nobody expects this"), only_expected_errors(["the warehouse"]):
        logging.getLogger("bus.anything").error("nobody expects this")


@pytest.mark.parametrize(("when", "seen"), [("before", 2), ("after", 3)])
def test_an_accident_kills_at_the_named_point(tmp_path: Path, when: str, seen: int) -> None:
    target = f"tests.contract.victim:Victim.step:{when}:3"
    command = [sys.executable, "-c", _RUN, target, str(tmp_path / "steps")]
    process = BoundProcess(command, tmp_path / "log", cwd=ROOT)
    assert process.wait(20) == -signal.SIGKILL
    assert (tmp_path / "steps").read_text() == "step\n" * seen
    assert f"accident at {target}" in process.output()


def test_a_server_of_the_tests_dies_with_them(tmp_path: Path) -> None:
    parent = BoundProcess([sys.executable, "-c", _PARENT, str(tmp_path / "child")], tmp_path / "log", cwd=ROOT)
    parent.wait_ready(lambda: (tmp_path / "child").exists() and bool((tmp_path / "child").read_text()), 20)
    child = int((tmp_path / "child").read_text())
    parent.kill()
    wait_until(lambda: not _runs(child), 5, "the end of the orphan")


def test_a_worker_writes_its_log_where_tests_can_read_it(tmp_path: Path) -> None:
    worker = Worker(tmp_path, ["check", "--no-such-option"], {"BUS_ENV_FILE": "", "QUICKSTART_DIR": str(tmp_path)})
    assert worker.wait() != 0
    assert "--no-such-option" in worker.output


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


_RUN = """
import sys
from pathlib import Path
from tests.worker import accidents
from tests.contract.victim import Victim
accidents.install(accidents.Point.parse(sys.argv[1]), accidents.kill)
for _ in range(5):
    Victim(Path(sys.argv[2])).step()
"""
_PARENT = """
import sys, time
from pathlib import Path
from tests.processes import BoundProcess
child = BoundProcess(["sleep", "60"], Path(sys.argv[1] + ".log"))
Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(60)
"""
