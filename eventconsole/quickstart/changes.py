"""Tells when a file of ours changed, so that what runs it starts again."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from bus.errors import ConfigurationError

_OURS = (".py", ".html", ".lua", ".env")


class Changes:
    """Watches folders on a thread of its own; a context manager."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Raises ConfigurationError when what it takes isn't installed."""
        if find_spec("watchfiles") is None:
            raise ConfigurationError("--reload needs watchfiles, which comes with the development group: use make dev")
        self._folders = [folder for folder in folders if folder.exists()]
        self._changed: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="changes", daemon=True)

    def take(self) -> list[str]:
        """Paths that changed since the last call, sorted."""
        with self._lock:
            changed, self._changed = self._changed, set()
        return sorted(changed)

    def __enter__(self) -> Changes:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def _watch(self) -> None:
        import watchfiles

        watched = watchfiles.watch(
            *self._folders,
            watch_filter=lambda _, path: path.endswith(_OURS),
            stop_event=self._stop,
            raise_interrupt=False,
            rust_timeout=500,
            debounce=400,
        )
        for changes in watched:
            with self._lock:
                self._changed.update(path for _, path in changes)
