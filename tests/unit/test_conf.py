"""Settings: what is read from the environment, and what is refused at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus import conf
from bus.conf import BusSettings
from bus.errors import ConfigurationError


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor the `.env` of whoever runs the tests counts."""
    for field in BusSettings.model_fields:
        monkeypatch.delenv(conf.variable_of(BusSettings, field), raising=False)
    monkeypatch.setenv("BUS_ENV_FILE", "")
    monkeypatch.setattr(conf, "_current", None)


def test_the_defaults_are_the_specifications() -> None:
    settings = conf.current()

    assert settings.kafka_brokers == "localhost:9092"
    assert settings.kafka_client_id == "event-service"
    assert settings.redis_url == "redis://localhost:6379/0"
    assert settings.retry_delays == (5.0, 10.0, 20.0)
    assert settings.dedup_seconds == 3600
    assert settings.failed_seconds == 24 * 3600
    assert settings.compression == "gzip"


@pytest.mark.parametrize(
    ("variable", "field"),
    [
        ("KAFKA_BROKERS", "kafka_brokers"),
        ("KAFKA_CLIENT_ID", "kafka_client_id"),
        ("REDIS_HOST", "redis_host"),
        ("REDIS_PORT", "redis_port"),
        ("REDIS_PASSWORD", "redis_password"),
        ("REDIS_DB", "redis_db"),
        ("BUS_RETRY_DELAYS", "retry_delays"),
        ("BUS_REDIS_PREFIX", "redis_prefix"),
    ],
)
def test_the_variable_of_a_field(variable: str, field: str) -> None:
    assert conf.variable_of(BusSettings, field) == variable


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BROKERS", "a:1,b:2")
    monkeypatch.setenv("BUS_RETRY_DELAYS", "0.5, 1,2")
    monkeypatch.setenv("BUS_CONCURRENCY", "3")
    settings = conf.current()

    assert settings.kafka_brokers == "a:1,b:2"
    assert settings.retry_delays == (0.5, 1.0, 2.0)
    assert settings.concurrency == 3


def test_an_empty_variable_counts_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "")
    monkeypatch.setenv("REDIS_PORT", "")

    assert conf.current().redis_url == "redis://localhost:6379/0"


def test_the_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("KAFKA_CLIENT_ID=from-file\nBUS_CONCURRENCY=5\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("BUS_ENV_FILE", str(file))
    monkeypatch.setenv("BUS_CONCURRENCY", "6")
    settings = conf.current()

    assert settings.kafka_client_id == "from-file"
    assert settings.concurrency == 6


def test_redis_is_put_together_from_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_HOST", "cache")
    monkeypatch.setenv("REDIS_PORT", "7000")
    monkeypatch.setenv("REDIS_PASSWORD", "p@ss:/word")
    monkeypatch.setenv("REDIS_DB", "3")

    assert conf.current().redis_url == "redis://:p%40ss%3A%2Fword@cache:7000/3"


def test_a_redis_address_wins_over_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_HOST", "cache")
    monkeypatch.setenv("REDIS_URL", "rediss://other:6380/1")

    assert conf.current().redis_url == "rediss://other:6380/1"


@pytest.mark.parametrize(
    ("variable", "given", "allowed"),
    [
        ("REDIS_PORT", "http", "integer"),
        ("REDIS_PORT", "70000", "65535"),
        ("BUS_CONCURRENCY", "0", "1"),
        ("BUS_RETRY_DELAYS", "5,ten", "comma-separated"),
        ("BUS_RETRY_DELAYS", "5,-1", "≥ 0"),
        ("BUS_RETRY_DELAYS", "nan", "≥ 0"),
        ("BUS_RETRY_DELAYS", "inf", "≥ 0"),
        ("BUS_COMPRESSION", "rar", "gzip"),
        ("BUS_ON_REDIS_DOWN", "skip", "pause"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS", "SASL_SSL"),
        ("BUS_REDIS_PREFIX", "{tag}", "pattern"),
        ("BUS_PUBLISH_TIMEOUT", "0", "greater than 0"),
        ("BUS_REDIS_CLUSTER", "perhaps", "boolean"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_what_was_given_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, given: str, allowed: str
) -> None:
    monkeypatch.setenv(variable, given)

    with pytest.raises(ConfigurationError) as refused:
        conf.current()
    message = str(refused.value)
    assert message.startswith(f"{variable}: ")
    assert given in message
    assert allowed in message


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PORT", "x")
    monkeypatch.setenv("BUS_CONCURRENCY", "y")

    with pytest.raises(ConfigurationError, match=r"REDIS_PORT.*BUS_CONCURRENCY"):
        conf.current()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"BUS_RETRY_DELAYS": "31", "BUS_DEDUP_SECONDS": "60"}, "BUS_RETRY_DELAYS"),
        ({"BUS_MIN_INSYNC_REPLICAS": "2"}, "BUS_MIN_INSYNC_REPLICAS"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SASL_MECHANISM"),
    ],
)
def test_values_that_would_break_a_promise_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], named: str
) -> None:
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError, match=named):
        conf.current()


def test_retries_may_take_half_of_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUS_RETRY_DELAYS", "10,20")
    monkeypatch.setenv("BUS_DEDUP_SECONDS", "60")

    assert sum(conf.current().retry_delays) == 30


def test_no_setting_can_switch_off_what_the_promises_rest_on() -> None:
    names = " ".join(BusSettings.model_fields)

    for word in ("acks", "idempotence", "auto_commit", "autocommit"):
        assert word not in names


def test_passwords_are_in_no_message_and_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@cache/0")

    assert "hunter2" not in repr(conf.current())


def test_dead_letters_may_be_a_mebibyte_larger_than_events() -> None:
    settings = conf.current()

    assert settings.max_dead_letter_bytes == settings.max_event_bytes + 1024 * 1024


def test_an_override_lasts_as_long_as_its_block() -> None:
    with conf.override(concurrency=2) as settings:
        assert conf.current() is settings
        assert settings.concurrency == 2
        with conf.override(retry_delays=()):
            assert conf.current().concurrency == 2
            assert conf.current().retry_delays == ()
        assert conf.current() is settings
    assert conf.current().concurrency != 2


def test_an_override_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BROKERS", "environment:1")
    monkeypatch.setenv("BUS_CONCURRENCY", "7")

    with conf.override(kafka_brokers="override:1", concurrency=3) as settings:
        assert settings.kafka_brokers == "override:1"
        assert settings.concurrency == 3


def test_an_override_is_checked_too() -> None:
    with pytest.raises(ConfigurationError, match="BUS_CONCURRENCY"), conf.override(concurrency=0):
        pass


def test_every_setting_says_what_it_is() -> None:
    source = Path(conf.__file__).read_text()

    for field in BusSettings.model_fields:
        _, _, after = source.partition(f"\n    {field}: ")
        assert '"""' in after.split("\n    def ", 1)[0].split("\n\n", 1)[0], field
