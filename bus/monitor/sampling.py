"""The monitor's part in lag: it looks at groups, topics and the cluster, so that no page has to ask Kafka."""

from __future__ import annotations

import logging

from django.db import connection

from bus import conf
from bus.errors import LedgerUnavailableError
from bus.kafka.groups import Groups
from bus.kafka.timestamps import Timestamps
from bus.lag.foreign import ForeignSampler
from bus.lag.sampler import Sampler
from bus.ledger import Ledger
from bus.presence import Presence, WorkerPresence

log = logging.getLogger("bus.monitor")

SAMPLE_SECONDS = 2.0


class Sampling:
    """Samples our own groups, our topics and the cluster."""

    name = "sample"

    def __init__(self, settings: conf.BusSettings) -> None:
        self._settings = settings
        self._open: tuple[Groups, Timestamps, Sampler] | None = None

    def step(self) -> float:
        if self._open is None:
            groups, times = Groups(self._settings), Timestamps(self._settings)
            presence = Presence(Ledger(settings=self._settings))
            self._open = groups, times, Sampler(groups, times, lambda: _alive(presence))
        self._open[2].step()
        return SAMPLE_SECONDS

    def close(self) -> None:
        if self._open is not None:
            self._open[0].close()
            self._open[1].close()
            self._open = None
        connection.close()


class Surveying:
    """Samples the groups of others, in the background."""

    name = "sample-foreign"

    def __init__(self, settings: conf.BusSettings) -> None:
        self._settings = settings
        self._open: tuple[Groups, Timestamps, ForeignSampler] | None = None

    def step(self) -> float:
        if self._open is None:
            groups, times = Groups(self._settings), Timestamps(self._settings)
            self._open = groups, times, ForeignSampler(groups, times)
        return self._open[2].step()

    def close(self) -> None:
        if self._open is not None:
            self._open[0].close()
            self._open[1].close()
            self._open = None
        connection.close()


def _alive(presence: Presence) -> list[WorkerPresence] | None:
    try:
        return presence.alive()
    except LedgerUnavailableError:
        return None  # the dispatchers say that Redis is away
