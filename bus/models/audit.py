"""Who did what, and who may do what alone."""

from __future__ import annotations

from django.db import models


class AuditEntry(models.Model):
    """What a person or program did. The intent is committed before anything else is touched, the outcome after."""

    class Outcome(models.TextChoices):
        INTENT = "intent"
        DONE = "done"
        FAILED = "failed"

    at = models.DateTimeField()
    who = models.CharField(max_length=200)
    what = models.CharField(max_length=50, help_text="Such as dead-letters.discard or replay.run.")
    target_kind = models.CharField(max_length=30, help_text="Such as dead-letter, replay or error-group.")
    target = models.CharField(max_length=200, blank=True, help_text="The id of the one thing, when it is one.")
    why = models.TextField(blank=True)
    detail = models.JSONField(default=dict, help_text="The filter or ids, and what else was asked for.")
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.INTENT)
    outcome_detail = models.TextField(blank=True)
    changed = models.PositiveIntegerField(default=0, help_text="How many things were changed.")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["at", "id"], name="bus_audit_at"),
            models.Index(fields=["target_kind", "target", "at"], name="bus_audit_target"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.who}: {self.what} {self.target}".rstrip()


class AuditSubject(models.Model):
    """A thing that an entry is about besides its target: each of many dead letters, or the group that chose them."""

    entry = models.ForeignKey(AuditEntry, on_delete=models.CASCADE, related_name="subjects")
    kind = models.CharField(max_length=30)
    target = models.CharField(max_length=200)

    class Meta:
        indexes = [
            models.Index(fields=["kind", "target", "entry"], name="bus_audit_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"


class Lease(models.Model):
    """The time-limited right of one process to do something alone. Its number grows with each new owner.

    Whoever relies on it names the number in its own transactions: a process that was stalled finds another one there.
    """

    name = models.CharField(max_length=100, primary_key=True)
    owner = models.CharField(max_length=200, blank=True)
    number = models.PositiveBigIntegerField(default=0)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {self.owner or 'nobody'} ({self.number})"
