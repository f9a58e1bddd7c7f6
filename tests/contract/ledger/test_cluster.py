"""What only a Redis Cluster does: slots that move, and one node of several that hangs or dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bus.errors import LedgerUnavailableError
from bus.ledger import Ledger, Status, Verdict
from bus.ledger.functions import HASH_TAGS, hash_tag
from tests.conftest import missing
from tests.contract.ledger.workers import EVENT, Worker, claim, fails_in_time, frozen, ledger_at
from tests.processes import wait_until
from tests.redis_server import NoRedisServerError, RedisAddress, RedisCluster, RedisServer

EVENTS = [f"event-{number}" for number in range(100)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """A cluster of this test's own, to be damaged."""
    try:
        cluster = RedisCluster(tmp_path / "cluster")
    except NoRedisServerError as error:
        missing(str(error))
    yield cluster
    cluster.stop()


@pytest.fixture
def ledger(cluster: RedisCluster) -> Iterator[Ledger]:
    ledger = ledger_at(RedisAddress(cluster.url, cluster=True))
    yield ledger
    ledger.client.close()


def claim_all(worker: Worker) -> set[Verdict]:
    _, answers = worker.call((), [claim(each) for each in EVENTS])
    worker.claimed = worker.number
    return {answer.verdict for answer in answers}


def commands(ledger: Ledger) -> dict[str, int]:
    """How often each command was run, on all nodes."""
    counted: dict[str, int] = {}
    for stats in ledger.client.info("commandstats", target_nodes=redis.RedisCluster.PRIMARIES).values():
        for name, numbers in stats.items():
            counted[name] = counted.get(name, 0) + numbers["calls"]
    return counted


def test_a_batch_is_one_function_call_per_hash_tag_and_nothing_else(ledger: Ledger) -> None:
    a = Worker(ledger, "a")
    claim_all(a)
    before = commands(ledger)
    assert a.call([a.outcome(Status.PROCESSED, each) for each in EVENTS])[0] == [True] * len(EVENTS)
    after = commands(ledger)
    asked = {name: after[name] - before.get(name, 0) for name in after}
    assert asked["cmdstat_fcall"] == len(HASH_TAGS)
    assert asked.get("cmdstat_command|getkeys", 0) == 0


@pytest.mark.parametrize("moved_first", [b":w:a", b":w:b", b":g:"])
def test_a_slot_that_moves_is_followed_without_forgetting_who_has_what(
    moved_first: bytes, cluster: RedisCluster, ledger: Ledger
) -> None:
    a, b = Worker(ledger, "a"), Worker(ledger, "b")
    assert claim_all(a) == {Verdict.GRANTED}
    assert claim_all(b) == {Verdict.BUSY}
    owner = ledger.client.get_node_from_key(hash_tag(EVENT)).port
    source = next(server for server in cluster.servers if server.port == owner)
    target = next(server for server in cluster.servers if server.port != owner)
    move = Move(ledger.client.keyslot(hash_tag(EVENT)), source, target)

    # Half moved, nobody can say what became of its events: wait, rather than run them twice.
    move.keys(moved_first)
    with fails_in_time():
        b.claim()

    move.keys(b"")
    move.end(cluster)
    assert b.claim().verdict is Verdict.BUSY
    assert a.settle(Status.PROCESSED)
    ledger.end_lease("a")
    assert claim_all(b) == {Verdict.AGAIN, Verdict.DONE}


class Move:
    """One slot on its way from one node to another, as `redis-cli --cluster reshard` goes about it."""

    def __init__(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        self.slot, self.source, self.target = slot, source, target
        with redis.Redis.from_url(source.url) as old, redis.Redis.from_url(target.url) as new:
            self.target_id = new.execute_command("CLUSTER MYID").decode()
            source_id = old.execute_command("CLUSTER MYID").decode()
            new.execute_command("CLUSTER SETSLOT", self.slot, "IMPORTING", source_id)
            old.execute_command("CLUSTER SETSLOT", self.slot, "MIGRATING", self.target_id)

    def keys(self, part: bytes) -> None:
        """Move those whose name has this part."""
        with redis.Redis.from_url(self.source.url) as old:
            names = old.execute_command("CLUSTER GETKEYSINSLOT", self.slot, 1000)
            moving = [name for name in map(as_bytes, names) if part in name]
            assert moving
            old.execute_command("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "KEYS", *moving)

    def end(self, cluster: RedisCluster) -> None:
        """Tell everybody."""
        for server in (self.target, self.source, *cluster.servers):
            with redis.Redis.from_url(server.url) as client:
                client.execute_command("CLUSTER SETSLOT", self.slot, "NODE", self.target_id)


def as_bytes(name: str | bytes) -> bytes:
    """The client decodes what some commands answer."""
    return name.encode() if isinstance(name, str) else name


@pytest.mark.parametrize("which", [0, 2])
def test_a_node_that_hangs_is_given_up_in_time(which: int, cluster: RedisCluster, ledger: Ledger) -> None:
    a = Worker(ledger, "a")
    claim_all(a)
    outcomes = [a.outcome(Status.PROCESSED, each) for each in EVENTS]
    with frozen(cluster.servers[which]):
        with fails_in_time():
            a.call(outcomes)
        with fails_in_time():
            ledger.heartbeat("a", a.number)
    wait_until(lambda: answers(a), 15, "the node that hung")
    # Some nodes had done their part: repeated with the same number, the call does the rest.
    assert a.repeat(outcomes)[0] == [True] * len(EVENTS)
    assert claim_all(Worker(ledger, "b")) == {Verdict.DONE}


def test_a_node_that_dies_and_comes_back_empty_is_used_again(cluster: RedisCluster, ledger: Ledger) -> None:
    a = Worker(ledger, "a")
    claim_all(a)
    cluster.servers[1].stop()
    with fails_in_time():
        a.call((), [claim(each) for each in EVENTS])
    with fails_in_time():
        ledger.ping()
    cluster.servers[1].start()
    wait_until(lambda: answers(a), 15, "the node that came back")
    assert claim_all(a) == {Verdict.AGAIN, Verdict.GRANTED}
    ledger.ping()


def test_a_program_starts_while_its_cluster_is_away(cluster: RedisCluster) -> None:
    cluster.servers[0].stop()
    ledger = ledger_at(RedisAddress(cluster.url, cluster=True))
    with fails_in_time(r"the Redis Cluster at redis://127.0.0.1:\d+/0 can't be used"):
        ledger.ping()
    cluster.servers[0].start()
    a = Worker(ledger, "a")
    wait_until(lambda: answers(a), 15, "the cluster")
    ledger.client.close()


def answers(worker: Worker) -> bool:
    """Whether the whole cluster does its work again."""
    try:
        worker.ledger.heartbeat(worker.name, worker.number)
    except LedgerUnavailableError:
        return False
    return True
