"""The console's settings, typed, from the environment (and `.env`, which the environment wins over).

Those of the bus are in `bus.conf`; both are read and reported the same way.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import dj_database_url
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bus import conf as bus_conf
from bus.errors import ConfigurationError

BASE_DIR = Path(__file__).resolve().parent.parent
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


class ConsoleSettings(BaseSettings):
    """Every setting of the console. The environment variable is the alias, or `BUS_` and the field's name."""

    model_config = SettingsConfigDict(
        env_prefix="BUS_", extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )

    app_env: Literal["development", "production"] = Field("development", validation_alias="APP_ENV")
    """Environment: production demands a secret key and sends cookies over HTTPS only."""
    port: int = Field(3007, validation_alias="PORT", ge=0, le=65535)
    """HTTP port; 0 takes a free one."""
    cors_origin: CommaSeparated = Field(("http://localhost:3000",), validation_alias="CORS_ORIGIN")
    """Origins whose pages may call the API, comma-separated; `*` for any, `none` for none."""
    database_url: str = Field("", validation_alias="DATABASE_URL", repr=False)
    """Database address such as `postgres://user:password@host/name`; without it a SQLite file."""
    secret_key: SecretStr = Field(SecretStr(""), validation_alias="SECRET_KEY", repr=False)
    """Signs sessions; at least 32 characters. Demanded in production, else made up once and kept."""
    allowed_hosts: CommaSeparated = Field((), validation_alias="ALLOWED_HOSTS")
    """Host names that the service answers to beside localhost, comma-separated."""
    trusted_origins: CommaSeparated = Field((), validation_alias="CSRF_TRUSTED_ORIGINS")
    """Origins with scheme whose forms and live pages are let in, when a proxy hides the real host; comma-separated."""
    debug: bool = Field(False, validation_alias="DEBUG")
    """Django's debug pages. They show code and settings to anyone, so they are off unless asked for."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", validation_alias="LOG_LEVEL")
    """The least severe log lines to write."""
    quickstart_dir: Path = Field(BASE_DIR / ".quickstart", validation_alias="QUICKSTART_DIR")
    """Where the quickstart keeps what it makes."""
    quickstart_traffic: bool = Field(True, validation_alias="QUICKSTART_TRAFFIC")
    """Whether the quickstart's demo shop has customers; 0 leaves them out."""

    environment_name: str = Field("", max_length=24)
    """Name of this installation, such as `production`, shown on every page."""
    environment_colour: Literal["grey", "green", "amber", "red", "blue"] = "grey"
    """Colour of that name and of a strip over every page, so that nobody takes one installation for another."""
    secure_cookies: bool | None = None
    """Whether cookies travel over HTTPS only; by default in production."""
    hsts_seconds: int = Field(0, ge=0)
    """For how long browsers are told to use HTTPS only (Strict-Transport-Security); 0 doesn't say so."""
    behind_proxy: bool = False
    """Whether a proxy in front sets X-Forwarded-Proto. Without such a proxy anyone could set it."""
    max_body_bytes: int = Field(1_000_000, ge=1000)
    """The largest request body."""
    demo: bool | None = None
    """Whether the demo shop is installed; by default in development."""
    extra_apps: CommaSeparated = ()
    """Django apps with topics and handlers of yours, comma-separated, without touching the settings."""

    @field_validator("cors_origin", "allowed_hosts", "trusted_origins", "extra_apps", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("cors_origin", "trusted_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value in (("*",), ("none",)):
            return value
        for origin in value:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query or parts.fragment:
                raise ValueError(f"scheme://host[:port] without a path, comma-separated; {origin!r} isn't one")
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        try:
            if value:
                dj_database_url.parse(value)
        except ValueError:
            raise ValueError("an address such as postgres://user:password@host:5432/name") from None
        return value

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < 32:
            raise ValueError("at least 32 random characters")
        return value

    @field_validator("quickstart_dir")
    @classmethod
    def _from_the_project(cls, value: Path) -> Path:
        return BASE_DIR / value

    @model_validator(mode="after")
    def _production(self) -> ConsoleSettings:
        if self.is_production and not self.secret_key.get_secret_value():
            raise ValueError(
                "SECRET_KEY: nothing given, allowed with APP_ENV=production are at least 32 random characters; "
                'make some with: python -c "import secrets; print(secrets.token_urlsafe(48))"'
            )
        return self

    @property
    def is_production(self) -> bool:
        return self.app_env == "production"

    @property
    def with_demo(self) -> bool:
        """Whether the demo shop is installed."""
        return not self.is_production if self.demo is None else self.demo

    @property
    def has_secure_cookies(self) -> bool:
        """Whether cookies travel over HTTPS only."""
        return self.is_production if self.secure_cookies is None else self.secure_cookies

    @property
    def database(self) -> Any:
        """Django's settings of the database.

        SQLite runs in WAL mode, so that readers and the one writer don't wait for each other, and transactions begin
        as writers: a reader that turns into a writer fails at once, whatever the time-out, if another wrote meanwhile.
        """
        # A quickstart in a folder of its own has a database of its own; the default folder shares the project's.
        is_own_folder = self.quickstart_dir != BASE_DIR / ".quickstart"
        folder = self.quickstart_dir if is_own_folder else BASE_DIR
        database = dj_database_url.parse(self.database_url or f"sqlite:///{folder / 'db.sqlite3'}")
        if database["ENGINE"] == "django.db.backends.sqlite3":
            database["OPTIONS"] = {
                **database.get("OPTIONS", {}),
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            }
        return database

    def key(self) -> str:
        """The secret key: the one given, or one made up once and kept under `quickstart_dir`.

        Raises ConfigurationError when it can't be kept.
        """
        return self.secret_key.get_secret_value() or _kept_secret(self.quickstart_dir / "secret_key")


def _kept_secret(path: Path) -> str:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        if not path.exists():
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(48))
            # A link appears whole and only once, so processes that start together agree on the first one's secret.
            try:
                os.link(made, path)
            except FileExistsError:
                pass
            finally:
                made.unlink()
        return path.read_text()
    except OSError as error:
        raise ConfigurationError(
            f"SECRET_KEY: nothing given, and none could be kept in {path} ({error.strerror}); give one of at least 32 "
            "random characters"
        ) from None


_current: ConsoleSettings | None = None


def current() -> ConsoleSettings:
    """The settings of this process, read once. Raises ConfigurationError that names each wrong variable."""
    global _current
    if _current is None:
        _current = bus_conf.load(ConsoleSettings)
    return _current
