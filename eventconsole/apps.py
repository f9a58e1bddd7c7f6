"""The console as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class EventConsoleConfig(AppConfig):
    name = "eventconsole"
    label = "eventconsole"
    verbose_name = "Event Console"
    default_auto_field = "django.db.models.BigAutoField"
