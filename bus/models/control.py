"""How consumer groups are steered: what people paused, and the epoch that each group is in.

The truth is here; workers read a mirror of it in Redis (see `bus.control`).
"""

from __future__ import annotations

from django.db import models


class GroupPause(models.Model):
    """A group, or one topic of it, starts nothing until this row is deleted."""

    group = models.CharField(max_length=200)
    topic = models.CharField(max_length=200, blank=True, help_text="Empty: the whole group.")
    who = models.CharField(max_length=200)
    why = models.TextField(blank=True)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["group", "topic"], name="bus_pause_once"),
        ]

    def __str__(self) -> str:
        return f"{self.topic or 'all'} of {self.group}, by {self.who}"


class GroupEpoch(models.Model):
    """The epoch of a group that is in another than the first one, which is 0. It only grows."""

    group = models.CharField(max_length=200, primary_key=True)
    number = models.PositiveIntegerField(default=0)
    resetting_since = models.DateTimeField(
        null=True, blank=True, help_text="Its offsets are being reset: workers start nothing until that is over."
    )

    def __str__(self) -> str:
        return f"epoch {self.number} of {self.group}"


class SteeringVersion(models.Model):
    """One row that counts the changes of pauses and epochs, so that an older mirror never replaces a newer one."""

    number = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.number)
