"""Whether a Redis is fit to hold the ledger: what to look at when a program starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis

from bus.errors import ConfigurationError

NEEDED_VERSION = 7
#: The policy that lets nothing go before its time; with volatile-ttl the leases would go first.
_KEEPING = ("noeviction",)


def problems(client: Any, is_cluster: bool) -> list[str]:
    """One sentence per problem, with its remedy. Raises ConfigurationError when Redis has no functions.

    A Redis that keeps its INFO to itself, as some managed ones do, has no problem that can be seen.
    """
    found = []
    for node, server in _info(client, "server", is_cluster).items():
        version = str(server.get("redis_version", NEEDED_VERSION))
        if int(version.split(".", 1)[0]) < NEEDED_VERSION:
            raise ConfigurationError(
                f"Redis{node} is {version} and has no functions: use Redis {NEEDED_VERSION}.0 or newer, or Valkey"
            )
    for node, memory in _info(client, "memory", is_cluster).items():
        policy = memory.get("maxmemory_policy", _KEEPING[0])
        if policy not in _KEEPING:
            found.append(
                f"Redis{node} has maxmemory-policy {policy}: it would forget handled events and handle them twice; "
                "set it to noeviction"
            )
        most, used = memory.get("maxmemory", 0), memory.get("used_memory", 0)
        if 0 < most <= used:
            found.append(
                f"Redis{node} uses {used} bytes, its maxmemory is {most}: it refuses to write; give it more, or lower "
                "BUS_DEDUP_SECONDS and BUS_FAILED_SECONDS"
            )
    return found


def _info(client: Any, section: str, is_cluster: bool) -> Mapping[str, Mapping[str, Any]]:
    """The section by server, whose name is empty when there is but one."""
    try:
        if is_cluster:
            nodes = client.info(section, target_nodes=client.PRIMARIES)
            return {f" at {node}": info for node, info in nodes.items()}
        return {"": client.info(section)}
    except redis.ResponseError:
        return {}
