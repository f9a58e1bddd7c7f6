"""The bus's settings, typed, from the environment (and `.env`, which the environment wins over).

Settings that would break a promise can't be set: there is none for acks, idempotence or automatic commits, and
combinations that lose events (retries longer than the memory of the deduplication) are refused at start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bus.errors import ConfigurationError

Settings = TypeVar("Settings", bound=BaseSettings)
Seconds = Annotated[float, Field(gt=0)]


class BusSettings(BaseSettings):
    """Every setting of the bus. The environment variable is the alias, or `BUS_` and the field's name."""

    model_config = SettingsConfigDict(
        env_prefix="BUS_", extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )

    kafka_brokers: str = Field("localhost:9092", validation_alias="KAFKA_BROKERS", min_length=1)
    """Kafka broker addresses, comma-separated."""
    kafka_client_id: str = Field("event-service", validation_alias="KAFKA_CLIENT_ID", min_length=1)
    """How this service names itself to Kafka."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", validation_alias="KAFKA_SECURITY_PROTOCOL"
    )
    """How the connection to Kafka is secured."""
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", ""] = Field(
        "", validation_alias="KAFKA_SASL_MECHANISM"
    )
    """SASL mechanism, with SASL_PLAINTEXT or SASL_SSL."""
    kafka_sasl_username: str = Field("", validation_alias="KAFKA_SASL_USERNAME")
    """SASL user name."""
    kafka_sasl_password: str = Field("", validation_alias="KAFKA_SASL_PASSWORD", repr=False)
    """SASL password."""
    kafka_ssl_ca_location: str = Field("", validation_alias="KAFKA_SSL_CA_LOCATION")
    """File of the certificate authority that signed the brokers' certificates."""
    kafka_ssl_certificate_location: str = Field("", validation_alias="KAFKA_SSL_CERTIFICATE_LOCATION")
    """File of this client's certificate, for mutual TLS."""
    kafka_ssl_key_location: str = Field("", validation_alias="KAFKA_SSL_KEY_LOCATION")
    """File of this client's private key, for mutual TLS."""
    kafka_ssl_key_password: str = Field("", validation_alias="KAFKA_SSL_KEY_PASSWORD", repr=False)
    """Password of the private key."""

    redis_host: str = Field("localhost", validation_alias="REDIS_HOST", min_length=1)
    """Redis host."""
    redis_port: int = Field(6379, validation_alias="REDIS_PORT", ge=1, le=65535)
    """Redis port."""
    redis_password: str = Field("", validation_alias="REDIS_PASSWORD", repr=False)
    """Redis password."""
    redis_db: int = Field(0, validation_alias="REDIS_DB", ge=0)
    """Redis database number."""
    redis_url_given: str = Field("", validation_alias="REDIS_URL", repr=False)
    """Redis as one address (`redis://` or `rediss://`); wins over the four above."""
    redis_cluster: bool = False
    """Whether Redis is a Redis Cluster."""
    redis_prefix: str = Field("bus", pattern=r"^[A-Za-z0-9._-]{1,40}$")
    """What every key of ours in Redis begins with."""
    on_redis_down: Literal["pause", "process"] = "pause"
    """What consumers do while Redis is away: wait, or handle events without deduplication."""

    retry_delays: Annotated[tuple[float, ...], NoDecode] = (5.0, 10.0, 20.0)
    """Seconds between the attempts of an event, comma-separated; attempts = delays + 1."""
    dedup_seconds: int = Field(3600, ge=60)
    """How long a handled or published event is remembered."""
    failed_seconds: int = Field(86400, ge=60)
    """How long a failed, retrying or running event is remembered."""
    lease_seconds: float = Field(30.0, ge=1, le=600)
    """How long a silent worker keeps its right to the events it took."""
    crash_limit: int = Field(2, ge=1, le=100)
    """How many workers an event may kill before it becomes a dead letter."""

    concurrency: int = Field(8, ge=1, le=1000)
    """Handlers that one worker process runs at the same time."""
    window_events: int = Field(5000, ge=1)
    """Events of one partition that a worker holds; a full window pauses the partition."""
    window_bytes: int = Field(64 * 1024 * 1024, ge=1024)
    """The same in bytes."""
    claim_batch: int = Field(500, ge=1, le=2000)
    """Events claimed in one round trip at most."""
    commit_interval: Seconds = 1.0
    """Seconds between commits of offsets."""
    drain_seconds: float = Field(10.0, ge=0)
    """How long running handlers may go on after SIGTERM or when a partition is taken away."""
    stuck_seconds: Seconds = 60.0
    """A handler that runs longer than this is reported as stuck."""
    heartbeat_interval: Seconds = 2.0
    """Seconds between the signs of life of a worker."""
    group_protocol: Literal["classic", "consumer"] = "classic"
    """Rebalance protocol: classic (cooperative-sticky) or consumer (KIP-848)."""
    session_timeout_ms: int = Field(45000, ge=1000)
    """After this silence the broker gives a worker's partitions to others (classic protocol)."""
    max_poll_interval_ms: int = Field(300000, ge=1000)
    """The longest time between two polls."""

    publish_timeout: Seconds = 8.0
    """Seconds to wait for the broker's acknowledgement; after that the outcome is unknown."""
    compression: Literal["gzip", "lz4", "snappy", "zstd", "none"] = "gzip"
    """Compression of what is produced."""
    linger_ms: float = Field(5.0, ge=0, le=1000)
    """How long the producer waits to fill a batch."""
    max_event_bytes: int = Field(1_000_000, ge=1000)
    """The largest encoded event."""
    max_batch: int = Field(1000, ge=1)
    """The most events in one publish-batch request."""

    topic_partitions: int = Field(4, ge=1)
    """Partitions of the topics that `create_topics` makes."""
    topic_replication: int = Field(1, ge=1)
    """Replication factor of the topics that `create_topics` makes; at least 3 in production."""
    topic_retention_hours: int = Field(7 * 24, ge=1)
    """Retention of events."""
    dead_letter_retention_hours: int = Field(30 * 24, ge=1)
    """Retention of dead letters."""
    replay_retention_hours: int = Field(3 * 24, ge=1)
    """Retention of replayed events."""
    min_insync_replicas: int = Field(1, ge=1)
    """Replicas that must have an event before it counts as published; at least 2 in production."""

    activity_bytes: int = Field(64 * 1024 * 1024, ge=1024 * 1024)
    """Memory in Redis for what pages show live; beyond it the oldest is forgotten."""
    monitor_lease_seconds: float = Field(10.0, ge=1, le=600)
    """How long another monitor waits before it takes over from one that is silent."""
    discarded_days: int = Field(30, ge=1, le=36500)
    """Days for which a discarded dead letter can be restored."""

    alert_webhook: str = Field("", repr=False)
    """Address that is told what goes wrong and when it is over (POST with JSON); none: nobody is told."""
    alert_secret: str = Field("", repr=False)
    """Signs what is told: header `X-Bus-Signature`, `sha256=` and the HMAC of the body."""
    alert_behind_seconds: Seconds = 300.0
    """A group that is further behind than this is told of."""

    @field_validator("alert_webhook")
    @classmethod
    def _webhook(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("an address such as https://alerts.example.com/hook")
        return value

    @field_validator("retry_delays", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return tuple(float(part) for part in value.split(",") if part.strip())
        except ValueError:
            raise ValueError("seconds ≥ 0, comma-separated, such as 5,10,20") from None

    @field_validator("retry_delays")
    @classmethod
    def _not_negative(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= delay < float("inf") for delay in value):
            raise ValueError("seconds ≥ 0, comma-separated, such as 5,10,20")
        return value

    @model_validator(mode="after")
    def _keep_the_promises(self) -> BusSettings:
        if sum(self.retry_delays) > self.dedup_seconds / 2:
            raise ValueError(
                f"BUS_RETRY_DELAYS: {sum(self.retry_delays):g} s in all, allowed is at most {self.dedup_seconds / 2:g} "
                "(half of BUS_DEDUP_SECONDS): an event must not be forgotten while it waits for its retry"
            )
        if self.min_insync_replicas > self.topic_replication:
            raise ValueError(
                f"BUS_MIN_INSYNC_REPLICAS: {self.min_insync_replicas} given, allowed is at most BUS_TOPIC_REPLICATION "
                f"({self.topic_replication}): more could never be in sync"
            )
        if self.kafka_security_protocol.startswith("SASL") and not self.kafka_sasl_mechanism:
            raise ValueError(
                "KAFKA_SASL_MECHANISM: nothing given, allowed with "
                f"{self.kafka_security_protocol} are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512"
            )
        return self

    @property
    def redis_url(self) -> str:
        """The address of Redis, put together from its parts when REDIS_URL isn't given."""
        if self.redis_url_given:
            return self.redis_url_given
        password = f":{quote(self.redis_password, safe='')}@" if self.redis_password else ""
        return f"redis://{password}{self.redis_host}:{self.redis_port}/{self.redis_db}"

    @property
    def max_dead_letter_bytes(self) -> int:
        """Dead letters and replays carry the event and why it failed, so their limit is 1 MiB higher."""
        return self.max_event_bytes + 1024 * 1024


def variable_of(settings: type[BaseSettings], field: str) -> str:
    """The environment variable of a settings field."""
    alias = settings.model_fields[field].validation_alias
    return str(alias) if alias else f"{settings.model_config.get('env_prefix', '')}{field}".upper()


def load(settings: type[Settings], **values: Any) -> Settings:
    """Read settings from the environment and `.env`.

    Raises ConfigurationError that names each wrong variable, what was given and what is allowed.
    """
    try:
        return settings(_env_file=env_file(), **values)
    except ValidationError as error:
        problems = [_problem(settings, detail) for detail in error.errors()]
        raise ConfigurationError("; ".join(problems)) from None


def env_file() -> Path | None:
    """The `.env` beside manage.py, or the file that BUS_ENV_FILE names (empty: none)."""
    named = os.environ.get("BUS_ENV_FILE")
    if named is not None:
        return Path(named) if named else None
    return Path(__file__).resolve().parent.parent / ".env"


def _problem(settings: type[BaseSettings], detail: Any) -> str:
    allowed = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if not detail["loc"]:
        return allowed
    named = str(detail["loc"][0])  # pydantic names a field by its alias, where it has one
    known = {variable_of(settings, name): field for name, field in settings.model_fields.items()}
    variable = named if named in known else variable_of(settings, named)
    given = repr(detail["input"]) if known[variable].repr else "(hidden)"
    return f"{variable}: {given} given, allowed is {allowed}"


_current: BusSettings | None = None


def current() -> BusSettings:
    """The settings of this process, read once."""
    global _current
    if _current is None:
        _current = load(BusSettings)
    return _current


@contextmanager
def override(**values: Any) -> Iterator[BusSettings]:
    """Other settings for a while, by field name; for tests."""
    global _current
    before = _current
    _current = load(BusSettings, **{**(before.model_dump() if before else {}), **values})
    try:
        yield _current
    finally:
        _current = before
