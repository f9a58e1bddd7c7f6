"""Services and guards that every test may use. Nothing is started before a test asks for it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest
from django.db import connections
from hypothesis import HealthCheck, settings

from bus.embedded.kafka import EmbeddedKafka
from bus.embedded.redis import EmbeddedRedis
from tests.errors import only_expected_errors
from tests.kafka.broker import KafkaCluster, RealKafka, UnavailableError, own_kafka, real_kafka
from tests.kafka.subject import KafkaUnderTest
from tests.redis_server import NoRedisServerError, RedisAddress, RedisCluster, RedisServer

pytest_plugins = ["tests.shop.fixtures"]

_LONG = ("e2e", "browser", "scenario", "contract")

# How long an example takes says something about the machine, which others use too, and nothing about the code.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "expects_errors(*patterns): log lines of level ERROR that belong to the test")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes goes first: a process that gets such a file last keeps the others waiting for it."""
    here = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(here).parts[0]
        return _LONG.index(folder) if folder in _LONG else len(_LONG)

    items.sort(key=rank)


def missing(reason: str) -> NoReturn:
    """A service isn't there: no reason to bother a laptop, but CI must not be green without it."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


# -- guards -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def expect_errors(request: pytest.FixtureRequest) -> Iterator[Callable[[str], None]]:
    """Fail a test during which an ERROR was logged that it didn't expect, by mark or by calling this."""
    marks = request.node.iter_markers("expects_errors")
    patterns: list[str] = [pattern for mark in marks for pattern in mark.args]
    with only_expected_errors(patterns):
        yield patterns.append


@pytest.fixture(autouse=True)
def no_connection_left() -> Iterator[None]:
    """Close what a test of the database leaves open: the next one that handles events would look at it, and may not."""
    yield
    connections.close_all()


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Makes names that no other test has: `unique("orders")`."""
    return lambda name: f"{name}-{uuid.uuid4().hex[:10]}"


# -- Kafka --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def embedded_kafka() -> Iterator[EmbeddedKafka]:
    """The embedded broker, in this process."""
    with EmbeddedKafka() as kafka:
        yield kafka


@pytest.fixture(scope="session")
def real_kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKafka]:
    """A real Kafka of one node, or the one of TEST_KAFKA_BROKERS."""
    try:
        kafka = real_kafka(tmp_path_factory.mktemp("kafka") / "one")
    except UnavailableError as error:
        missing(str(error))
    yield kafka
    kafka.close()


@pytest.fixture(scope="session")
def kafka_cluster_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A real Kafka of three nodes."""
    try:
        cluster = own_kafka(tmp_path_factory.mktemp("kafka") / "three", 3)
    except UnavailableError as error:
        missing(str(error))
    yield cluster
    cluster.close()


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.kafka)])
def kafka(request: pytest.FixtureRequest) -> Iterator[KafkaUnderTest]:
    """A Kafka of each kind in turn. It is brought back if the test stopped it."""
    if request.param == "embedded":
        subject = KafkaUnderTest("embedded", request.getfixturevalue("embedded_kafka"))
    else:
        subject = KafkaUnderTest("real", request.getfixturevalue("real_kafka_server"))
    yield subject
    subject.start()


@pytest.fixture
def stoppable_kafka(kafka: KafkaUnderTest) -> KafkaUnderTest:
    """The same, for tests that stop it."""
    if not kafka.can_stop:
        pytest.skip("the Kafka of TEST_KAFKA_BROKERS isn't the tests' to stop")
    return kafka


@pytest.fixture
def kafka_cluster(kafka_cluster_server: KafkaCluster) -> Iterator[KafkaCluster]:
    """Three nodes; those that the test stopped are brought back."""
    yield kafka_cluster_server
    kafka_cluster_server.start()


@pytest.fixture
def make_topic(kafka: KafkaUnderTest, unique: Callable[[str], str]) -> Callable[..., str]:
    """Creates a topic with a name of its own: `make_topic("orders", partitions=2, config={…})`."""

    def make(name: str = "topic", partitions: int = 4, config: dict[str, str] | None = None) -> str:
        topic = unique(name)
        kafka.create_topic(topic, partitions, config)
        return topic

    return make


# -- Redis --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def embedded_redis() -> Iterator[EmbeddedRedis]:
    """The embedded Redis."""
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A `redis-server` of this machine."""
    try:
        server = RedisServer(tmp_path_factory.mktemp("redis") / "one")
    except NoRedisServerError as error:
        missing(str(error))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_cluster_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A Redis Cluster of three masters."""
    try:
        cluster = RedisCluster(tmp_path_factory.mktemp("redis") / "three")
    except NoRedisServerError as error:
        missing(str(error))
    yield cluster
    cluster.stop()


@pytest.fixture
def redis_url(embedded_redis: EmbeddedRedis) -> str:
    """The address of an empty Redis."""
    RedisAddress(embedded_redis.url).flush()
    return embedded_redis.url


@pytest.fixture
def redis_cluster(redis_cluster_servers: RedisCluster) -> RedisAddress:
    """An empty Redis Cluster."""
    address = RedisAddress(redis_cluster_servers.url, cluster=True)
    address.flush()
    return address


@pytest.fixture(params=["embedded", "redis-server", "cluster"])
def any_redis(request: pytest.FixtureRequest) -> RedisAddress:
    """An empty Redis of each kind in turn."""
    match request.param:
        case "embedded":
            address = RedisAddress(request.getfixturevalue("embedded_redis").url)
        case "redis-server":
            address = RedisAddress(request.getfixturevalue("redis_server").url)
        case _:
            return request.getfixturevalue("redis_cluster")  # type: ignore[no-any-return]
    address.flush()
    return address


@pytest.fixture
def stoppable_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A `redis-server` of this test's own, which it may stop and start; it keeps its data."""
    with ExitStack() as cleanup:
        try:
            server = RedisServer(tmp_path / "redis", durable=True)
        except NoRedisServerError as error:
            missing(str(error))
        cleanup.callback(server.stop)
        yield server
