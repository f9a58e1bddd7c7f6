"""Calling the ledger's Lua functions, on a single Redis and on a cluster alike."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import MovedError, RedisClusterException
from redis.retry import Retry

from bus import conf
from bus.errors import LedgerUnavailableError

HASH_TAGS = tuple(f"{{{tag:02d}}}" for tag in range(16))
TOO_OLD = "Redis is older than 7.0 and has no functions: use Redis 7.0 or newer, or Valkey"
_SOURCE = Path(__file__).with_name("ledger.lua").read_text()
_LIBRARY = "bus_" + hashlib.sha256(_SOURCE.encode()).hexdigest()[:8]
_CODE = "#!lua name=" + _LIBRARY + "\n" + _SOURCE.replace("LIBRARY", _LIBRARY)


# More than once, because the nodes of a cluster lose the library one after the other.
_LOADS = 3
_REDIRECTIONS = 2
# What redis-py raises when Redis can't be used; RedisClusterException is no RedisError.
_FAILURES = (redis.RedisError, RedisClusterException, OSError)


class Call(NamedTuple):
    """One call of a function of `ledger.lua`. On a cluster all its keys carry one hash tag."""

    function: str
    keys: Sequence[str]
    arguments: Sequence[Any]


def hash_tag(name: str) -> str:
    """The hash tag of an event id or correlation id."""
    return HASH_TAGS[crc32(name.encode()) % len(HASH_TAGS)]


def connect(settings: conf.BusSettings | None = None) -> Any:
    """A client for the Redis of the settings. Short time-outs: whoever calls has better to do than to wait.

    A cluster is asked for its nodes at once: raises LedgerUnavailableError when it can't be reached.
    """
    settings = settings or conf.current()
    options: dict[str, Any] = {
        "socket_timeout": 2.0,
        "socket_connect_timeout": 1.0,
        "client_name": settings.kafka_client_id.replace(" ", "-"),
        "retry": Retry(NoBackoff(), 1),
    }
    if not settings.redis_cluster:
        return redis.Redis.from_url(settings.redis_url, **options)
    try:
        return RedisCluster.from_url(settings.redis_url, **options)
    except _FAILURES as error:
        raise LedgerUnavailableError(f"the Redis Cluster at {_address(settings)} can't be used: {error}") from error


def _address(settings: conf.BusSettings) -> str:
    """The address without what may be secret in it."""
    return settings.redis_url.rsplit("@", 1)[-1].split("?", 1)[0]


class Functions:
    """The function library in Redis. Every failure to use Redis is a LedgerUnavailableError."""

    def __init__(self, client: Any, settings: conf.BusSettings) -> None:
        self.is_cluster = settings.redis_cluster if client is None else isinstance(client, RedisCluster)
        self._client = client
        self._settings = settings
        self._connecting = threading.Lock()
        self._loading = threading.Lock()

    @property
    def client(self) -> Any:
        """The client, made when it is first needed: a program starts, and goes on, while a cluster is away."""
        if self._client is None:
            with self._connecting:
                if self._client is None:
                    self._client = connect(self._settings)
        return self._client

    @property
    def everywhere(self) -> dict[str, Any]:
        """What makes the client run a command on all primaries of a cluster."""
        return {"target_nodes": RedisCluster.PRIMARIES} if self.is_cluster else {}

    def call(self, calls: Sequence[Call]) -> list[Any]:
        """The replies, in order, in one round trip; loads the library when Redis doesn't have it (any more)."""
        for _ in range(_LOADS):
            try:
                return self._send(calls)
            except redis.ResponseError as error:
                if "unction not found" not in str(error):
                    raise self._refused(error) from error
            self._load()
        try:
            return self._send(calls)
        except redis.ResponseError as error:
            raise self._refused(error) from error

    def per_item(self, function: str, keys: Sequence[str], per_item: Sequence[Sequence[Any]], *first: Any) -> list[Any]:
        """Call a function that takes one key per item, on a cluster once per hash tag; answers in the items' order."""
        if not keys:
            return []
        if not self.is_cluster:
            reply = self.call([Call(function, keys, [*first, *chain.from_iterable(per_item)])])[0]
            return reply if isinstance(reply, list) else [None] * len(keys)
        parts: dict[str, list[int]] = {}
        for index, key in enumerate(keys):
            parts.setdefault(key.split("}", 1)[0], []).append(index)
        replies = self.call(
            [
                Call(function, [keys[i] for i in part], [*first, *(a for i in part for a in per_item[i])])
                for part in parts.values()
            ]
        )
        answers: list[Any] = [None] * len(keys)
        for part, reply in zip(parts.values(), replies, strict=True):
            if isinstance(reply, list):
                for index, answer in zip(part, reply, strict=True):
                    answers[index] = answer
        return answers

    def guard(self, ask: Callable[[], Any]) -> Any:
        """Run something against Redis; a failure to use Redis is a LedgerUnavailableError."""
        try:
            return ask()
        except _FAILURES as error:
            raise self._unusable(error) from error

    def _send(self, calls: Sequence[Call]) -> list[Any]:
        try:
            return self._send_to_nodes(calls) if self.is_cluster else _send_to(self.client, calls)
        except redis.ResponseError:
            raise
        except _FAILURES as error:
            raise self._unusable(error) from error

    def _send_to_nodes(self, calls: Sequence[Call]) -> list[Any]:
        """One round trip per node.

        The cluster client's own pipeline would ask Redis for the keys of each call before sending it, and repeat the
        calls to a hung node one by one, each with its time-out.
        """
        nodes = self.client.nodes_manager
        for _ in range(_REDIRECTIONS):
            try:
                return self._send_by_node(calls)
            except redis.TimeoutError:
                nodes.initialize()  # it may have been replaced, but this call has waited long enough
                raise
            except (MovedError, redis.ConnectionError):
                nodes.initialize()
        return self._send_by_node(calls)

    def _send_by_node(self, calls: Sequence[Call]) -> list[Any]:
        parts: dict[str, tuple[Any, list[int]]] = {}
        for index, call in enumerate(calls):
            node = self.client.get_node_from_key(call.keys[0])
            parts.setdefault(node.name, (node, []))[1].append(index)
        replies: list[Any] = [None] * len(calls)
        for node, part in parts.values():
            answers = _send_to(self.client.get_redis_connection(node), [calls[index] for index in part])
            for index, answer in zip(part, answers, strict=True):
                replies[index] = answer
        return replies

    def _load(self) -> None:
        with self._loading:
            self.guard(lambda: self.client.execute_command("FUNCTION LOAD", "REPLACE", _CODE, **self.everywhere))

    def _refused(self, error: redis.ResponseError) -> LedgerUnavailableError:
        if "unknown command" in str(error):
            return LedgerUnavailableError(TOO_OLD)
        return LedgerUnavailableError(f"Redis refused a call of the ledger: {error}")

    def _unusable(self, error: BaseException) -> LedgerUnavailableError:
        return LedgerUnavailableError(f"Redis at {_address(self._settings)} can't be used: {error}")


def _send_to(client: Any, calls: Sequence[Call]) -> list[Any]:
    if len(calls) == 1:
        return [client.execute_command(*_words(calls[0]))]
    pipeline = client.pipeline(transaction=False)
    for call in calls:
        pipeline.execute_command(*_words(call))
    return list(pipeline.execute())


def _words(call: Call) -> tuple[Any, ...]:
    return "FCALL", f"{_LIBRARY}_{call.function}", len(call.keys), *call.keys, *call.arguments
