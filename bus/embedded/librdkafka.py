"""The mock cluster of librdkafka, called in C.

The wheel of confluent-kafka carries librdkafka as a library that exports its mock cluster, which Python's binding
doesn't show. The interface is declared experimental, so all of it that is used is listed here, and whoever opens it
must be ready for None.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import confluent_kafka

_PRODUCER = 0
_TEXT = ctypes.c_char_p
_POINTER = ctypes.c_void_p
_INT = ctypes.c_int
_INT16 = ctypes.c_int16
_INT32 = ctypes.c_int32
_SIZE = ctypes.c_size_t

# name: (result, arguments), as in rdkafka.h and rdkafka_mock.h.
_SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    "rd_kafka_conf_new": (_POINTER, []),
    "rd_kafka_conf_set": (_INT, [_POINTER, _TEXT, _TEXT, _TEXT, _SIZE]),
    "rd_kafka_new": (_POINTER, [_INT, _POINTER, _TEXT, _SIZE]),
    "rd_kafka_destroy": (None, [_POINTER]),
    "rd_kafka_err2str": (_TEXT, [_INT]),
    "rd_kafka_mock_cluster_new": (_POINTER, [_POINTER, _INT]),
    "rd_kafka_mock_cluster_destroy": (None, [_POINTER]),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, [_POINTER]),
    "rd_kafka_mock_topic_create": (_INT, [_POINTER, _TEXT, _INT, _INT]),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [_POINTER, _INT32]),
    "rd_kafka_mock_set_group_consumer_heartbeat_interval_ms": (None, [_POINTER, _INT]),
    "rd_kafka_mock_set_group_consumer_session_timeout_ms": (None, [_POINTER, _INT]),
    "rd_kafka_mock_push_request_errors_array": (None, [_POINTER, _INT16, _SIZE, ctypes.POINTER(_INT)]),
    "rd_kafka_mock_clear_request_errors": (None, [_POINTER, _INT16]),
    "rd_kafka_mock_topic_set_error": (None, [_POINTER, _TEXT, _INT]),
    "rd_kafka_mock_broker_set_down": (_INT, [_POINTER, _INT32]),
    "rd_kafka_mock_broker_set_up": (_INT, [_POINTER, _INT32]),
    "rd_kafka_mock_broker_set_rtt": (_INT, [_POINTER, _INT32, _INT]),
}


class MockLibrary:
    """librdkafka with typed calls. Every call may be made from any thread; none is made under the GIL."""

    def __init__(self, path: str) -> None:
        """Load the library. Raises OSError or AttributeError when it isn't one with a mock cluster."""
        self._library = ctypes.CDLL(path)
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(self._library, name)
            function.restype = result
            function.argtypes = arguments

    def new_cluster(self, brokers: int) -> tuple[int, int]:
        """Start a mock cluster; returns the client that owns it, and the cluster."""
        problem = ctypes.create_string_buffer(512)
        conf = self._library.rd_kafka_conf_new()
        # The owner never talks to anybody: without this it says so on stderr.
        self._library.rd_kafka_conf_set(conf, b"log_level", b"3", problem, len(problem))
        client = self._library.rd_kafka_new(_PRODUCER, conf, problem, len(problem))
        if not client:
            raise OSError(f"librdkafka: {problem.value.decode()}")
        cluster = self._library.rd_kafka_mock_cluster_new(client, brokers)
        if not cluster:
            self._library.rd_kafka_destroy(client)
            raise OSError("librdkafka could not start its mock cluster")
        return client, cluster

    def destroy(self, client: int, cluster: int) -> None:
        """Stop the cluster and its owner; connections are closed, events are gone."""
        self._library.rd_kafka_mock_cluster_destroy(cluster)
        self._library.rd_kafka_destroy(client)

    def bootstrap(self, cluster: int) -> str:
        """The brokers' addresses, comma-separated."""
        return str(self._library.rd_kafka_mock_cluster_bootstraps(cluster).decode())

    def create_topic(self, cluster: int, name: str, partitions: int, replication: int) -> None:
        """Create a topic. Raises OSError when it exists or can't be."""
        self._check(self._library.rd_kafka_mock_topic_create(cluster, name.encode(), partitions, replication), name)

    def join_at_once(self, cluster: int) -> None:
        """Take away the waits of a first join (classic protocol) and shorten those of a rebalance (KIP-848).

        A killed member's partitions move after 6 s instead of 30.
        """
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
        self._library.rd_kafka_mock_set_group_consumer_heartbeat_interval_ms(cluster, 500)
        self._library.rd_kafka_mock_set_group_consumer_session_timeout_ms(cluster, 6000)

    def set_down(self, cluster: int, broker: int, down: bool) -> None:
        """Take a broker (1, 2, …) away, or bring it back at the same address with what it stored."""
        change = self._library.rd_kafka_mock_broker_set_down if down else self._library.rd_kafka_mock_broker_set_up
        self._check(change(cluster, broker), f"broker {broker}")

    def set_delay(self, cluster: int, broker: int, milliseconds: int) -> None:
        """Make a broker answer each request that much later."""
        self._check(self._library.rd_kafka_mock_broker_set_rtt(cluster, broker, milliseconds), f"broker {broker}")

    def push_request_errors(self, cluster: int, api_key: int, errors: list[int]) -> None:
        """Answer the next requests of a kind with these error codes, one each."""
        codes = (_INT * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(cluster, api_key, len(errors), codes)

    def clear_request_errors(self, cluster: int, api_key: int) -> None:
        """Forget what `push_request_errors` has still in store."""
        self._library.rd_kafka_mock_clear_request_errors(cluster, api_key)

    def set_topic_error(self, cluster: int, name: str, error: int) -> None:
        """Answer all that is asked of a topic with an error; 0 ends it."""
        self._library.rd_kafka_mock_topic_set_error(cluster, name.encode(), error)

    def _check(self, error: int, what: str) -> None:
        if error:
            raise OSError(f"{what}: {self._library.rd_kafka_err2str(error).decode()}")


@cache
def open_library() -> MockLibrary | None:
    """The first librdkafka with a mock cluster: the wheel's own, then the system's. None when there is none."""
    for path in _candidates():
        try:
            return MockLibrary(path)
        except (OSError, AttributeError):
            continue
    return None


def _candidates() -> Iterator[str]:
    package = Path(confluent_kafka.__file__).parent
    # Linux wheels keep it beside the package, macOS wheels inside.
    for folder, pattern in (
        (package.parent / "confluent_kafka.libs", "librdkafka-*.so*"),
        (package, "**/librdkafka*.dylib"),
    ):
        yield from sorted(str(path) for path in folder.glob(pattern))
    system = ctypes.util.find_library("rdkafka")
    if system:
        yield system
