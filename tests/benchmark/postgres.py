"""A PostgreSQL of one's own in a folder, from the programs that are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from tests.processes import free_ports

_INSTALLED = "/usr/lib/postgresql"


class NoPostgresError(Exception):
    """PostgreSQL isn't installed."""


class Postgres:
    """A server with one empty database; a context manager that ends it and removes its files."""

    def __init__(self) -> None:
        """Raises NoPostgresError."""
        found = shutil.which("initdb") or next(iter(sorted(Path(_INSTALLED).glob("*/bin/initdb"), reverse=True)), None)
        if found is None:
            raise NoPostgresError("PostgreSQL isn't installed")
        self._programs = Path(found).resolve().parent
        self.port = free_ports(1)[0]
        self._folder = Path(tempfile.mkdtemp(prefix="event-console-postgres-"))
        self.url = f"postgres://bench@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Postgres:
        data = self._folder / "data"
        if os.geteuid() == 0:  # it refuses to run as root
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "-D", str(data), "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()
        return self

    def start(self) -> None:
        """Start it, as at first or after `stop`."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """End it as a crash would: its clients lose their connections, what was committed stays."""
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "stop")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        subprocess.run(
            [str(self._programs / program), *arguments],
            check=True,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            timeout=60,
            **user,  # type: ignore[call-overload]
        )
