"""Calling the ledger's Lua functions, on a single Redis and on a cluster alike."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from bus import conf
from bus.errors import LedgerUnavailableError

HASH_TAGS = tuple(f"{{{tag:02d}}}" for tag in range(16))
_SOURCE = Path(__file__).with_name("ledger.lua").read_text()
_LIBRARY = "bus_" + hashlib.sha256(_SOURCE.encode()).hexdigest()[:8]
_CODE = "#!lua name=" + _LIBRARY + "\n" + _SOURCE.replace("LIBRARY", _LIBRARY)


class Call(NamedTuple):
    """One call of a function of `ledger.lua`. On a cluster all its keys carry one hash tag."""

    function: str
    keys: Sequence[str]
    arguments: Sequence[Any]


def hash_tag(name: str) -> str:
    """The hash tag of an event id or correlation id."""
    return HASH_TAGS[crc32(name.encode()) % len(HASH_TAGS)]


def connect(settings: conf.BusSettings | None = None) -> Any:
    """A client for the Redis of the settings. Short time-outs: whoever calls has better to do than to wait."""
    settings = settings or conf.current()
    options: dict[str, Any] = {
        "socket_timeout": 2.0,
        "socket_connect_timeout": 1.0,
        "client_name": settings.kafka_client_id.replace(" ", "-"),
    }
    if settings.redis_cluster:
        return RedisCluster.from_url(settings.redis_url, **options)
    return redis.Redis.from_url(settings.redis_url, retry=Retry(NoBackoff(), 1), **options)


class Functions:
    """The function library in Redis. Every failure to use Redis is a LedgerUnavailableError."""

    def __init__(self, client: Any, address: str) -> None:
        self.client = client
        self.is_cluster = isinstance(client, RedisCluster)
        self._address = address
        self._loading = threading.Lock()

    def call(self, calls: Sequence[Call]) -> list[Any]:
        """The replies, in order, in one round trip; loads the library when Redis doesn't have it (any more)."""
        try:
            return self._send(calls)
        except redis.ResponseError as error:
            if "unction not found" not in str(error):
                raise LedgerUnavailableError(f"Redis refused a call of the ledger: {error}") from error
        self._load()
        try:
            return self._send(calls)
        except redis.ResponseError as error:
            raise LedgerUnavailableError(f"Redis refused a call of the ledger: {error}") from error

    def per_item(self, function: str, keys: Sequence[str], per_item: Sequence[Sequence[Any]], *first: Any) -> list[Any]:
        """Call a function that takes one key per item, on a cluster once per hash tag; answers in the items' order."""
        if not keys:
            return []
        parts: dict[str, list[int]] = {}
        for index, key in enumerate(keys):
            parts.setdefault(key.split("}", 1)[0] if self.is_cluster else "", []).append(index)
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
        except (redis.RedisError, OSError) as error:
            raise LedgerUnavailableError(f"Redis at {self._address} can't be used: {error}") from error

    def _send(self, calls: Sequence[Call]) -> list[Any]:
        try:
            if len(calls) == 1:
                return [self.client.fcall(*_words(calls[0]))]
            pipeline = self.client.pipeline() if self.is_cluster else self.client.pipeline(transaction=False)
            for call in calls:
                pipeline.fcall(*_words(call))
            return list(pipeline.execute())
        except redis.ResponseError:
            raise
        except (redis.RedisError, OSError) as error:
            raise LedgerUnavailableError(f"Redis at {self._address} can't be used: {error}") from error

    def _load(self) -> None:
        where = {"target_nodes": RedisCluster.PRIMARIES} if self.is_cluster else {}
        with self._loading:
            self.guard(lambda: self.client.execute_command("FUNCTION LOAD", "REPLACE", _CODE, **where))


def _words(call: Call) -> tuple[Any, ...]:
    return f"{_LIBRARY}_{call.function}", len(call.keys), *call.keys, *call.arguments
