"""The bus as a Django app: it finds catalogs and handlers at start, and reports what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import autodiscover_modules


class BusConfig(AppConfig):
    name = "bus"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Catalogs first: a handler of another app may name a topic or group that they add.
        autodiscover_modules("catalog")
        autodiscover_modules("handlers")
        register(check_handlers, "bus")


def check_handlers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Handlers that can't work are errors of `manage.py check`."""
    from bus import handlers

    return [Error(problem, id="bus.E001") for problem in handlers.problems()]
