"""The demo shop as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class DemoConfig(AppConfig):
    name = "eventconsole.demo"
    label = "demo"
    verbose_name = "Demo shop"
