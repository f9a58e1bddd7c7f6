"""Replays: operations that deliver dead letters again, and what became of each."""

from __future__ import annotations

from django.db import models

from bus.models.deadletters import DeadLetter


class Replay(models.Model):
    """A stored operation over a fixed set of dead letters. A replay of one is an operation of one item."""

    class State(models.TextChoices):
        PLANNED = "planned"
        RUNNING = "running"
        PAUSED = "paused"
        WAITING_FOR_CANARY = "waiting for canary"
        STOPPED_BY_CANARY = "stopped by canary"
        CANCELLED = "cancelled"
        COMPLETED = "completed"

    class Kind(models.TextChoices):
        ONE = "one"
        MANY = "many"
        EDIT = "edit"

    state = models.CharField(max_length=20, choices=State, default=State.PLANNED)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.MANY)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=200)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField(null=True, blank=True, help_text="When its state last changed, and by whom.")
    changed_by = models.CharField(max_length=200, blank=True)
    reason = models.TextField(blank=True)
    filter = models.JSONField(default=dict, help_text="What chose the dead letters: a filter or ids.")
    places = models.JSONField(default=list, help_text="Rows of topic, group and how many dead letters.")
    warnings = models.JSONField(default=list, help_text="What was said of it when it was planned, but for workers.")
    all_groups = models.BooleanField(default=False, help_text="Those without a group go to all groups of their topic.")

    # Counts are kept with every change of an item.
    total = models.PositiveIntegerField(default=0)
    sent = models.PositiveIntegerField(default=0)
    handled = models.PositiveIntegerField(default=0)
    failed_again_same = models.PositiveIntegerField(default=0)
    failed_again_other = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)

    rate = models.FloatField(null=True, blank=True, help_text="Events per second; none: as fast as it goes.")
    speed = models.FloatField(null=True, blank=True, help_text="Events per second, as measured lately.")
    canary = models.PositiveIntegerField(null=True, blank=True, help_text="So many go first.")
    stop_at_percent = models.FloatField(null=True, blank=True, help_text="Of the canary, failed again.")
    canary_decided = models.BooleanField(default=False, help_text="It passed, or somebody went on all the same.")
    send_at = models.DateTimeField(null=True, blank=True, help_text="Until then it can be undone.")

    lease_owner = models.CharField(max_length=200, blank=True)
    lease_number = models.PositiveBigIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    taken_to = models.PositiveIntegerField(
        default=0, help_text="Waiting items up to this sequence are taken: on their way, or about to be."
    )
    batch_ends = models.JSONField(
        default=dict, help_text="Where topics ended before the batch that is taken: topic, then partition to offset."
    )

    class Meta:
        indexes = [
            models.Index(fields=["state", "id"], name="bus_replay_state"),
            models.Index(fields=["id"], condition=models.Q(taken_to__gt=0), name="bus_replay_taken"),
        ]

    def __str__(self) -> str:
        return f"replay {self.pk} of {self.total}, {self.state}"


class ReplayItem(models.Model):
    """One dead letter of a replay, in the order in which they are sent."""

    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        HANDLED = "handled"
        FAILED_AGAIN = "failed again"
        SKIPPED = "skipped"

    replay = models.ForeignKey(Replay, on_delete=models.CASCADE, related_name="items")
    # Without a constraint: dead letters leave with their records, what was done to them is still told.
    dead_letter = models.ForeignKey(
        DeadLetter, on_delete=models.DO_NOTHING, db_constraint=False, related_name="replay_items"
    )
    sequence = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=State, default=State.WAITING)
    sent_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    partition = models.PositiveIntegerField(null=True, blank=True, help_text="In the group's .replay topic.")
    offset = models.PositiveBigIntegerField(null=True, blank=True)
    note = models.TextField(blank=True, help_text="Why it was skipped, or how it failed again.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["replay", "sequence"], name="bus_replay_item_once"),
        ]
        indexes = [
            models.Index(fields=["replay", "state", "sequence"], name="bus_replay_item_state"),
            # Those whose outcome isn't known yet: few, whatever has been replayed in the past.
            models.Index(fields=["id"], condition=models.Q(state="sent"), name="bus_replay_item_open"),
        ]

    def __str__(self) -> str:
        return f"item {self.sequence} of replay {self.replay_id}, {self.state}"


class ReplayEdit(models.Model):
    """What is sent in place of the original, which stays as it is. The copy is an event of its own."""

    item = models.OneToOneField(ReplayItem, on_delete=models.CASCADE, primary_key=True, related_name="edit")
    event_id = models.CharField(max_length=128, help_text="Of the copy.")
    value = models.BinaryField()
    key = models.BinaryField(null=True)
    headers = models.BinaryField(help_text="JSON: pairs of a name and its value in base64, or null.")
    diff = models.JSONField(default=list, help_text="Rows of path, before and after.")

    def __str__(self) -> str:
        return f"{self.event_id} in place of the original"
