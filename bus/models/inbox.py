"""Which events handlers with `exactly_once=True` have handled."""

from __future__ import annotations

from django.db import models


class InboxEntry(models.Model):
    """A handler with `exactly_once=True` has handled this event; committed together with its own work.

    Kept as long as the event can come back: as long as its topic and dead letters are kept.
    """

    group = models.CharField(max_length=220, help_text="With its epoch, as group@2, in another than the first.")
    event_id = models.CharField(max_length=128)
    generation = models.PositiveIntegerField(default=0)
    handled_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        verbose_name_plural = "inbox entries"
        constraints = [
            models.UniqueConstraint(fields=["group", "event_id", "generation"], name="bus_inbox_once"),
        ]

    def __str__(self) -> str:
        return f"{self.event_id} ({self.generation}) by {self.group}"
