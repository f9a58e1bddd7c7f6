"""Client configurations for librdkafka, made from the settings.

What the promises rest on is written here and can't be set: acks, idempotence, no automatic commits, earliest reset.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from bus.conf import BusSettings

Config = dict[str, Any]
_REPORT_EVERY_SECONDS = 30.0


def common(settings: BusSettings, log: logging.Logger) -> Config:
    """Address, name and security; shared by producers, consumers and admin clients."""
    config: Config = {
        "bootstrap.servers": settings.kafka_brokers,
        "client.id": settings.kafka_client_id,
        "security.protocol": settings.kafka_security_protocol,
        "error_cb": report_once_in_a_while(log),
        # A broker that comes back is used within a second or two, however long it was away.
        "reconnect.backoff.max.ms": 2000,
        "socket.keepalive.enable": True,
        "log_level": 3,
        "logger": SparseLogger(log),
    }
    optional = {
        "sasl.mechanism": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
        "sasl.password": settings.kafka_sasl_password,
        "ssl.ca.location": settings.kafka_ssl_ca_location,
        "ssl.certificate.location": settings.kafka_ssl_certificate_location,
        "ssl.key.location": settings.kafka_ssl_key_location,
        "ssl.key.password": settings.kafka_ssl_key_password,
    }
    config.update({name: value for name, value in optional.items() if value})
    return config


def producer(settings: BusSettings, log: logging.Logger) -> Config:
    """An idempotent producer that reports success only when all in-sync replicas have the event."""
    return {
        **common(settings, log),
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": settings.compression,
        "linger.ms": settings.linger_ms,
        "delivery.timeout.ms": int(settings.publish_timeout * 1000),
        "message.max.bytes": settings.max_dead_letter_bytes + 64 * 1024,
        # A topic that doesn't exist is refused after 2 s, instead of being waited for until nobody knows the outcome.
        "topic.metadata.propagation.max.ms": 2000,
        "queue.buffering.max.messages": 100_000,
        "queue.buffering.max.kbytes": 256 * 1024,
        # The partitioner of the Java clients, so that a key meets the same partition whoever produces it.
        "partitioner": "murmur2_random",
    }


def consumer(settings: BusSettings, group: str, client_id: str, log: logging.Logger) -> Config:
    """A consumer that commits only what it is told to, and reads a new group from the beginning."""
    config = {
        **common(settings, log),
        "client.id": client_id,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "max.poll.interval.ms": settings.max_poll_interval_ms,
        "fetch.message.max.bytes": settings.max_dead_letter_bytes + 64 * 1024,
        "queued.max.messages.kbytes": 64 * 1024,
        "fetch.wait.max.ms": 100,
        "topic.metadata.refresh.interval.ms": 30_000,
    }
    if settings.group_protocol == "consumer":
        # KIP-848 moves these three to the broker, and librdkafka refuses them.
        config["group.protocol"] = "consumer"
    else:
        config["partition.assignment.strategy"] = "cooperative-sticky"
        config["session.timeout.ms"] = settings.session_timeout_ms
        config["heartbeat.interval.ms"] = min(3000, settings.session_timeout_ms // 3)
    return config


class SparseLogger:
    """Passes each kind of line of the client library on once in 30 s, as a warning.

    While a broker is away the library says so several times a second, for each connection, and as an error, though it
    connects again by itself.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._said: dict[str, float] = {}

    def log(self, level: int, line: str, kind: str, *rest: object) -> None:
        """What the library calls for each line; `kind` is its own name for what happened, such as FAIL."""
        if self.is_new(kind):
            self._log.warning("kafka_client " + line, kind, *rest)

    def is_new(self, kind: str) -> bool:
        """Whether nothing of this kind was said in the last 30 s."""
        now = self._clock()
        if now - self._said.get(kind, -_REPORT_EVERY_SECONDS) < _REPORT_EVERY_SECONDS:
            return False
        self._said[kind] = now
        return True


def report_once_in_a_while(
    log: logging.Logger, clock: Callable[[], float] = time.monotonic
) -> Callable[[object], None]:
    """An error callback that logs each kind of error once in 30 s: a wrong password is tried 20 times a second."""
    sparse = SparseLogger(log, clock)

    def report(error: Any) -> None:
        if sparse.is_new(error.name()):
            log.warning("kafka_error %s: %s", error.name(), error.str())

    return report
