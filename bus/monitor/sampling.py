"""The monitor's part in lag: it looks at groups, topics and the cluster, so that no page has to ask Kafka."""

from __future__ import annotations

from django.db import connection

from bus import conf
from bus.errors import LedgerUnavailableError
from bus.kafka.groups import Groups
from bus.kafka.timestamps import Timestamps
from bus.lag.foreign import ForeignSampler
from bus.lag.sampler import Sampler
from bus.ledger import Ledger
from bus.presence import Presence, WorkerPresence

SAMPLE_SECONDS = 2.0


class _Looking:
    """What both look at Kafka with, opened when it is needed first."""

    def __init__(self, settings: conf.BusSettings) -> None:
        self._settings = settings
        self._clients: tuple[Groups, Timestamps] | None = None

    def _open(self) -> tuple[Groups, Timestamps]:
        self._clients = Groups(self._settings), Timestamps(self._settings)
        return self._clients

    def close(self) -> None:
        for client in self._clients or ():
            client.close()
        self._clients = None
        connection.close()


class Sampling(_Looking):
    """Samples our own groups, our topics and the cluster."""

    name = "sample"
    _sampler: Sampler | None = None

    def step(self) -> float:
        if self._sampler is None:
            presence = Presence(Ledger(settings=self._settings))
            self._sampler = Sampler(*self._open(), lambda: _alive(presence))
        self._sampler.step()
        return SAMPLE_SECONDS

    def close(self) -> None:
        super().close()
        self._sampler = None


class Surveying(_Looking):
    """Samples the groups of others, in the background."""

    name = "sample-foreign"
    _sampler: ForeignSampler | None = None

    def step(self) -> float:
        if self._sampler is None:
            self._sampler = ForeignSampler(*self._open())
        return self._sampler.step()

    def close(self) -> None:
        super().close()
        self._sampler = None


def _alive(presence: Presence) -> list[WorkerPresence] | None:
    try:
        return presence.alive()
    except LedgerUnavailableError:
        return None  # the dispatchers say that Redis is away
