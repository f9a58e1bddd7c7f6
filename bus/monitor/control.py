"""The monitor's part in steering groups: the mirror stays what the database says, and paused groups remember."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from django.db import connection

from bus import conf
from bus.control import store
from bus.ledger import Ledger
from bus.ledger.keeping import keep

log = logging.getLogger("bus.monitor")

MIRROR_SECONDS = 1.0
_LOOK_SECONDS = 5.0


class Mirroring:
    """Restores the mirror when Redis has lost it, or an entry isn't (any more) what the database says."""

    name = "mirror-steering"

    def __init__(self, settings: conf.BusSettings) -> None:
        self._settings = settings
        self._ledger: Ledger | None = None
        self._has_finished = False

    def step(self) -> float:
        if self._ledger is None:
            self._ledger = Ledger(settings=self._settings)
        store.restore(self._ledger.mirror)
        if not self._has_finished and (found := self._ledger.mirror.read()) is not None:
            # Whoever made the last change may have died before it could say that it is done.
            store.finish_told(found.version, datetime.now(UTC))
            self._has_finished = True
        return MIRROR_SECONDS

    def close(self) -> None:
        self._ledger, self._has_finished = None, False
        connection.close()


class Keeping:
    """Keeps what paused groups have handled from being forgotten, every quarter of the time that it is remembered."""

    name = "keep-paused"

    def __init__(self, settings: conf.BusSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._kept_at: dict[str, float] = {}
        self._ledger: Ledger | None = None

    def step(self) -> float:
        if self._ledger is None:
            self._ledger = Ledger(settings=self._settings)
        steering, seconds = store.load(), self._settings.dedup_seconds
        paused = {group for group, _ in steering.pauses}
        self._kept_at = {group: at for group, at in self._kept_at.items() if group in paused}
        for group in sorted(paused):
            if self._clock() - self._kept_at.get(group, float("-inf")) < seconds / 4:
                continue
            pause = steering.pause(group)
            kept = keep(self._ledger, group, None if pause.whole else pause.topics, seconds * 1000)
            self._kept_at[group] = self._clock()
            log.info("paused_group_kept %s records", kept, extra={"group": group})
        return min(_LOOK_SECONDS, seconds / 8)

    def close(self) -> None:
        self._ledger = None
        connection.close()
