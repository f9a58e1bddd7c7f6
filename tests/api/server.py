"""The web server in a process of its own, on a Kafka, a Redis and a database of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

from bus.embedded.kafka import EmbeddedKafka
from bus.embedded.redis import EmbeddedRedis
from eventconsole.conf import BASE_DIR
from tests.processes import BoundProcess, accepts, free_ports


class Server:
    """daphne with everything it leans on. `settings` is the module of Django's settings."""

    def __init__(self, folder: Path, settings: str = "eventconsole.settings", **environment: str) -> None:
        self.folder = folder
        self.database = folder / "database" / "db.sqlite3"
        self.database.parent.mkdir(parents=True)
        self.kafka = EmbeddedKafka().start()
        self.redis = EmbeddedRedis().start()
        self.port = free_ports(1)[0]
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._environment = {
            **inherited,
            "BUS_ENV_FILE": "",
            "DATABASE_URL": f"sqlite:///{self.database}",
            "DJANGO_SETTINGS_MODULE": settings,
            "KAFKA_BROKERS": self.kafka.bootstrap,
            "QUICKSTART_DIR": str(folder),
            "REDIS_URL": self.redis.url,
            **environment,
        }
        self.manage("migrate", "--verbosity", "0")
        self.token = self.manage("create_token", "--name", "tester", "--scope", "publish", "--scope", "read").strip()
        self.start()

    def start(self) -> None:
        """Start the web server, also again after it was stopped."""
        daphne = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(self.port)]
        self.process = BoundProcess(
            [*daphne, "eventconsole.asgi:application"], self.folder / "web.log", self._environment, BASE_DIR
        )
        self.process.wait_ready(lambda: accepts(self.port), 30)

    def client(self) -> httpx.Client:
        """Somebody with the token."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers={"Authorization": f"Bearer {self.token}"}, timeout=15
        )

    def close(self) -> None:
        self.process.stop()
        self.redis.stop()
        self.kafka.stop()

    def manage(self, *arguments: str) -> str:
        """What a management command printed."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=BASE_DIR, env=self._environment, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout
