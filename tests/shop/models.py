from __future__ import annotations

from django.db import models


class Sale(models.Model):
    """What an `exactly_once` handler writes, so that tests can count it."""

    event_id = models.CharField(max_length=128)
    group = models.CharField(max_length=200)

    objects: models.Manager[Sale] = models.Manager()

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return f"{self.event_id} for {self.group}"
