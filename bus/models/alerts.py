"""What was found wrong, so that it is told once when it begins and once when it is over, whoever leads meanwhile."""

from __future__ import annotations

from django.db import models


class Alert(models.Model):
    """Something that is wrong, or was. `told` is what the receiver of alerts knows: nothing, that it began, its end."""

    class Told(models.TextChoices):
        NOTHING = "nothing"
        BEGUN = "begun"
        ENDED = "ended"

    key = models.CharField(max_length=300, primary_key=True, help_text="Kind and subject, such as group-behind:orders.")
    kind = models.CharField(max_length=30)
    subject = models.CharField(max_length=249)
    summary = models.TextField()
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    told = models.CharField(max_length=10, choices=Told, default=Told.NOTHING)
    failed_times = models.PositiveIntegerField(default=0, help_text="Tries to tell that failed in a row.")
    next_try_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, help_text="Why it couldn't be told.")

    class Meta:
        indexes = [models.Index(fields=["ended_at", "told"], name="bus_alert_open")]

    def __str__(self) -> str:
        return f"{self.key}: {self.summary:.80}"
