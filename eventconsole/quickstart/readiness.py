"""Whether what was started answers, and what to say when all does."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bus.errors import LedgerUnavailableError
from bus.presence import Presence
from eventconsole.quickstart.account import Account

# Our own address, so no proxy of the environment has a part in it.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Services:
    """Where Kafka and Redis are, and whether they are ours."""

    kafka_brokers: str
    embeds_kafka: bool
    redis_url: str
    embeds_redis: bool


def answers(url: str, timeout: float = 1.0) -> bool:
    """Whether the web server is up."""
    try:
        # "localhost" is among the allowed hosts whatever the address is.
        request = urllib.request.Request(f"{url}/api/health/live", headers={"Host": "localhost"})
        with _opener.open(request, timeout=timeout) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def have_joined(presence: Presence, groups: Collection[str], since: float) -> bool:
    """Whether every group has got partitions, by what workers said after `since` (seconds since 1970)."""
    try:
        entries = [entry for entry in presence.all() if entry.seen_at >= since]
    except LedgerUnavailableError:
        return False
    joined = {group.group for entry in entries for group in entry.groups if group.partitions}
    return joined.issuperset(groups)


def banner(url: str, account: Account, services: Services, folder: Path, seconds: float) -> str:
    """What a person needs to know."""
    kafka = services.kafka_brokers
    if services.embeds_kafka:
        kafka += "   embedded: keeps events in memory only, they are gone after a stop; for librdkafka clients only"
    redis = "embedded" if services.embeds_redis else "yours"
    return f"""
Event Console is ready after {seconds:.1f} s:  {url}

  login   {account.username} / {account.password}   (administrator)
  token   {account.token}   (every scope)
  Kafka   {kafka}
  Redis   {services.redis_url if services.embeds_redis else _without_password(services.redis_url)}   {redis}
  logs    {os.path.relpath(folder / "logs")}

Publish an event:

  curl {url}/api/events/publish -H 'Authorization: Bearer {account.token}' -H 'Content-Type: application/json' \\
    -d '{{"topic": "order.created", "data": {{"orderId": "ORD-1", "customerId": "CUST-1", "total": 42}}}}'

Ctrl-C stops everything."""


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
