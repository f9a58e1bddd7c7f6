"""The port and the folder that belong to one quickstart at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bus.embedded.readiness import write_private
from bus.errors import ConfigurationError

READY = "ready.json"


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Have the folder to oneself. Raises ConfigurationError when another quickstart has it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            where = running_at(folder) or "it is just starting or stopping"
            raise ConfigurationError(
                f"a quickstart already runs in {_short(folder)} ({where}); for a second one set QUICKSTART_DIR and PORT"
            ) from None
        yield


def listen(port: int, folder: Path, host: str = "127.0.0.1") -> socket.socket:
    """A listening socket. Raises ConfigurationError when the port is taken."""
    try:
        return socket.create_server((host, port), backlog=1024)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ConfigurationError(f"PORT: {port} given, which can't be opened on {host}: {error.strerror}") from None
        where = running_at(folder)
        if where and where.endswith(f":{port}"):
            ready = _short(folder / READY)
            raise ConfigurationError(
                f"the quickstart already runs at {where} (login and token are in {ready})"
            ) from None
        raise ConfigurationError(
            f"port {port} on {host} is taken by another program; choose another one, for example PORT={port + 1}"
        ) from None


def running_at(folder: Path) -> str | None:
    """The address of the quickstart that runs in the folder, as far as it says."""
    try:
        return str(json.loads((folder / READY).read_text())["url"])
    except (OSError, ValueError, KeyError):
        return None


def write_ready(folder: Path, content: dict[str, Any]) -> None:
    """Tell the world that all is ready."""
    write_private(folder / READY, json.dumps(content, indent=2) + "\n")


def remove_ready(folder: Path) -> None:
    """Nothing is ready, or not any more."""
    (folder / READY).unlink(missing_ok=True)


def _short(path: Path) -> str:
    shorter = os.path.relpath(path)
    return str(path) if shorter.startswith("..") else shorter
