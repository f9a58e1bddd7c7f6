"""The index of dead letters: what the `.dlq` topics hold, in a form that can be searched, and what became of each."""

from __future__ import annotations

from django.db import models


class LetterStatus(models.TextChoices):
    """What becomes of a dead letter: open → replaying → resolved, or superseded; open → discarded → open."""

    OPEN = "open"
    REPLAYING = "replaying"
    RESOLVED = "resolved"
    DISCARDED = "discarded"
    SUPERSEDED = "superseded"
    """It failed again: the dead letter of the next generation stands for it. Lists leave it out; alone it shows as
    open, with a pointer to the newer one."""


class ErrorGroup(models.Model):
    """Failures of the same kind. Its counts are kept with every change, so that no list counts rows."""

    fingerprint = models.CharField(max_length=32, primary_key=True)
    error_type = models.CharField(max_length=255, blank=True)
    message = models.TextField(blank=True, help_text="Normalised: numbers, ids, quotes and addresses are masked.")
    frame = models.CharField(max_length=300, blank=True, help_text="The innermost frame of the project's own code.")
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    last_replayed_at = models.DateTimeField(null=True, blank=True)
    came_back_at = models.DateTimeField(null=True, blank=True, help_text="When a replayed one last failed again.")

    # Dead letters by status; together all there are.
    open = models.PositiveIntegerField(default=0)
    replaying = models.PositiveIntegerField(default=0)
    resolved = models.PositiveIntegerField(default=0)
    discarded = models.PositiveIntegerField(default=0)
    superseded = models.PositiveIntegerField(default=0)
    replayed = models.PositiveIntegerField(default=0, help_text="Dead letters that were replayed at least once.")
    came_back = models.PositiveIntegerField(default=0, help_text="Dead letters of replayed events.")

    note = models.TextField(blank=True)
    owner = models.CharField(max_length=200, blank=True)
    noted_by = models.CharField(max_length=200, blank=True)
    noted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["last_seen_at", "fingerprint"], name="bus_errors_last_seen"),
            models.Index(fields=["first_seen_at", "fingerprint"], name="bus_errors_first_seen"),
        ]

    def __str__(self) -> str:
        return f"{self.error_type}: {self.message:.80}"


class ErrorGroupPlace(models.Model):
    """How many failures of a kind there are in one topic and consumer group."""

    fingerprint = models.CharField(max_length=32)
    topic = models.CharField(max_length=249)
    group = models.CharField(max_length=249, blank=True)
    open = models.PositiveIntegerField(default=0)
    replaying = models.PositiveIntegerField(default=0)
    resolved = models.PositiveIntegerField(default=0)
    discarded = models.PositiveIntegerField(default=0)
    superseded = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["fingerprint", "topic", "group"], name="bus_errors_place"),
        ]
        indexes = [
            models.Index(fields=["topic", "group"], name="bus_errors_place_topic"),
            models.Index(fields=["group"], name="bus_errors_place_group"),
        ]

    def __str__(self) -> str:
        return f"{self.fingerprint} in {self.topic} of {self.group or 'no group'}"


class DeadLetter(models.Model):
    """One failed delivery: an event, in one consumer group, in one generation (0, then 1 for its first replay, …).

    Text is cut to what fits and shown as text; the record itself, byte for byte, is the payload.
    """

    group = models.CharField(max_length=249, blank=True, help_text="Empty when the dead letter names none.")
    event_id = models.CharField(max_length=128)
    generation = models.PositiveBigIntegerField(default=0)
    status = models.CharField(max_length=10, choices=LetterStatus, default=LetterStatus.OPEN)

    topic = models.CharField(max_length=249, help_text="Where the event failed, without the suffix .dlq.")
    event_type = models.CharField(max_length=249, blank=True)
    key = models.CharField(max_length=255, blank=True)
    has_key = models.BooleanField(default=False, help_text="Tells an empty key from none.")
    correlation_id = models.CharField(max_length=255, blank=True)
    reason = models.CharField(max_length=12, blank=True)
    error_type = models.CharField(max_length=255, blank=True)
    error_message = models.TextField(blank=True)
    fingerprint = models.CharField(max_length=32)
    attempts = models.PositiveBigIntegerField(null=True, blank=True)
    first_failed_at = models.DateTimeField()
    last_failed_at = models.DateTimeField()
    size = models.PositiveIntegerField(default=0, help_text="Bytes of the record's value.")

    # Where its record is; the first place when it was written more than once. Replays keep this order.
    cluster = models.CharField(max_length=64)
    dlq_topic = models.CharField(max_length=249)
    dlq_partition = models.PositiveIntegerField()
    dlq_offset = models.PositiveBigIntegerField()
    has_left_kafka = models.BooleanField(default=False, help_text="Kept here alone: Kafka has deleted the record.")

    replayed_times = models.PositiveIntegerField(default=0, help_text="Of its event, earlier generations included.")
    failed_again_times = models.PositiveIntegerField(default=0, help_text="Of its event, up to this generation.")
    previous = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="next", db_index=False
    )
    # Without an index and a constraint, which each replayed one would pay for: a replay knows its dead letters by its
    # items, and isn't deleted.
    replay = models.ForeignKey(
        "bus.Replay",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
        help_text="The newest.",
    )
    replayed_at = models.DateTimeField(null=True, blank=True)
    replayed_by = models.CharField(max_length=200, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)

    discarded_at = models.DateTimeField(null=True, blank=True)
    discarded_by = models.CharField(max_length=200, blank=True)
    discard_reason = models.TextField(blank=True)
    purged_at = models.DateTimeField(null=True, blank=True, help_text="Its payload is gone; it can't be restored.")
    kept = models.BooleanField(default=False, help_text="Stays when Kafka deletes the record.")
    indexed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["event_id", "group", "generation"], name="bus_letter_once"),
        ]
        # One per filter, each ending with what pages are cut by.
        indexes = [
            models.Index(fields=["last_failed_at", "id"], name="bus_letter_page"),
            models.Index(fields=["status", "last_failed_at", "id"], name="bus_letter_status"),
            models.Index(fields=["topic", "last_failed_at", "id"], name="bus_letter_topic"),
            models.Index(fields=["group", "last_failed_at", "id"], name="bus_letter_group"),
            models.Index(fields=["fingerprint", "last_failed_at", "id"], name="bus_letter_fingerprint"),
            models.Index(fields=["event_type", "last_failed_at", "id"], name="bus_letter_event_type"),
            models.Index(fields=["error_type", "last_failed_at", "id"], name="bus_letter_error_type"),
            models.Index(fields=["reason", "last_failed_at", "id"], name="bus_letter_reason"),
            models.Index(fields=["key", "last_failed_at", "id"], name="bus_letter_key"),
            models.Index(fields=["correlation_id", "last_failed_at", "id"], name="bus_letter_correlation"),
            models.Index(fields=["dlq_topic", "dlq_partition", "dlq_offset"], name="bus_letter_place"),
            models.Index(fields=["previous"], condition=models.Q(previous__isnull=False), name="bus_letter_previous"),
        ]

    def __str__(self) -> str:
        return f"{self.event_id} ({self.generation}) of {self.group or 'no group'}"


class DeadLetterPosition(models.Model):
    """A further place in a `.dlq` topic where a dead letter is: a worker that dies can have written one twice.

    The first place is in the dead letter itself; nearly all have no other.
    """

    dead_letter = models.ForeignKey(DeadLetter, on_delete=models.CASCADE, related_name="positions")
    cluster = models.CharField(max_length=64)
    topic = models.CharField(max_length=249)
    partition = models.PositiveIntegerField()
    offset = models.PositiveBigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["topic", "partition", "offset", "cluster"], name="bus_position_once"),
        ]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class DeadLetterPayload(models.Model):
    """The record as it is in the `.dlq` topic, read only when somebody opens it: `bus.deadletters.read` takes it apart.

    The original value, the original headers and the stack trace come out of it byte for byte.
    """

    dead_letter = models.OneToOneField(DeadLetter, on_delete=models.CASCADE, primary_key=True, related_name="payload")
    value = models.BinaryField(null=True)
    key = models.BinaryField(null=True)
    headers = models.BinaryField(help_text="JSON: pairs of a name and its value, bytes as Latin-1, or null.")

    def __str__(self) -> str:
        return f"payload of dead letter {self.dead_letter_id}"


class IndexPosition(models.Model):
    """How far a partition of a `.dlq` topic is read; saved with the rows that were read from it.

    `first_offset` and `end_offset` are Kafka's as of `seen_at`: the difference to `next_offset` is the index's lag.
    """

    cluster = models.CharField(max_length=64)
    topic = models.CharField(max_length=249)
    partition = models.PositiveIntegerField()
    next_offset = models.PositiveBigIntegerField(default=0)
    first_offset = models.PositiveBigIntegerField(default=0)
    end_offset = models.PositiveBigIntegerField(default=0)
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["cluster", "topic", "partition"], name="bus_index_position_once"),
        ]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]: {self.next_offset} of {self.end_offset}"
