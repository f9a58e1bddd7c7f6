"""The monitor's part in alerts: it looks, remembers and tells."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from bus import conf
from bus.alerts import delivery, register
from bus.alerts.conditions import STALE, conditions

log = logging.getLogger("bus.monitor")

LOOK_SECONDS = 5.0
_IDLE_SECONDS = 60.0

Send = Callable[[str, Mapping[str, Any], str], None]


class Alerting:
    """Tells the address of BUS_ALERT_WEBHOOK what begins and what ends; without one it does nothing."""

    name = "alert"

    def __init__(
        self,
        settings: conf.BusSettings,
        *,
        send: Send = delivery.send,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._send = send
        self._now = now
        self._watched_since: datetime | None = None
        self._looked_at: datetime | None = None

    def step(self) -> float:
        url = self._settings.alert_webhook
        if not url:
            return _IDLE_SECONDS
        now = self._now()
        if self._watched_since is None or self._looked_at is None or now - self._looked_at >= STALE:
            # Another monitor led, the database was away, or the machine stood still.
            self._watched_since = now
        behind = self._settings.alert_behind_seconds
        found = list(conditions(now, behind, register.standing(), self._watched_since))
        self._looked_at = now
        register.note(found, now)
        for alert in register.untold(now):
            try:
                told = delivery.document(alert, self._settings.kafka_client_id)
                self._send(url, told, self._settings.alert_secret)
            except delivery.DeliveryError as error:
                # It stays untold, and is tried again: whoever is on call hears late rather than never.
                register.not_told(alert, str(error), self._now())
                log.warning("alert_not_told %s: %s", alert.key, error)
            else:
                register.told(alert)
        return LOOK_SECONDS

    def close(self) -> None:
        connection.close()
