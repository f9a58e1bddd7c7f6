"""What the monitor saw of Kafka and the workers last, and what it was before: the lists and charts of the console.

All of it is written by the monitor's leader alone, and can be deleted: it is sampled anew. Pages read it and never ask
Kafka. Times are when something was seen, so that a page can say how old it is.
"""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Coalesce

UNKNOWN_TIME_LAG = -1.0
"""What an unknown time lag is sorted as: behind all known ones."""


class GroupState(models.Model):
    """A consumer group as it was seen last: one of ours, or one that only Kafka knows.

    Lists leave out what is long (`GroupState.objects.defer(*GroupState.LONG)`): ten thousand groups have a hundred
    thousand partitions.
    """

    LONG = ("partitions", "member_details")

    class Trend(models.TextChoices):
        GROWING = "growing"
        SHRINKING = "shrinking"
        STEADY = "steady"

    name = models.CharField(max_length=249, primary_key=True)
    is_ours = models.BooleanField(default=False, help_text="It is in the catalog.")
    state = models.CharField(
        max_length=30, blank=True, help_text="As Kafka says: stable, empty, preparing rebalance … Empty: can't be told."
    )
    members = models.PositiveIntegerField(null=True, blank=True, help_text="Unknown when null.")
    workers = models.PositiveIntegerField(default=0, help_text="Members that are workers of ours and alive.")
    topics = models.JSONField(default=list, help_text="Names of the topics that it reads.")
    partition_count = models.PositiveIntegerField(default=0)
    lag = models.BigIntegerField(default=0, help_text="Events: end offsets less committed offsets.")
    time_lag_seconds = models.FloatField(
        null=True, blank=True, help_text="Age of the oldest event that isn't settled; 0 without lag, null: unknown."
    )
    rate = models.FloatField(default=0.0, help_text="Events committed per second.")
    arriving = models.FloatField(default=0.0, help_text="Events published to its topics per second.")
    trend = models.CharField(max_length=10, choices=Trend, default=Trend.STEADY)
    drain_seconds = models.FloatField(
        null=True, blank=True, help_text="Until its slowest partition has no lag; 0 without lag, null: not foreseeable."
    )
    reason = models.TextField(blank=True, help_text="Why it waits, as one sentence; empty when it doesn't.")
    error = models.TextField(blank=True, help_text="Why it couldn't be sampled, since `sampled_at`.")
    sampled_at = models.DateTimeField()
    sparkline = models.JSONField(
        default=list, help_text="Lag, the newest last: up to 60 numbers, 15 s apart, null where nothing is known."
    )
    sparkline_at = models.DateTimeField(null=True, blank=True, help_text="Time of the newest point.")
    member_details = models.JSONField(default=list, help_text="A list of {id, client, host, worker, partitions}.")
    partitions = models.JSONField(
        default=list,
        help_text="A list of {topic, partition, end, committed, lag, timeLag, rate, trend, worker, inHand, "
        "waits: {why, detail, until} or null}; committed is null without a commit, until is ms or null.",
    )

    class Meta:
        # A name is part of each, because that is what pages are cut by.
        indexes = [
            models.Index(fields=["lag", "name"], name="bus_group_lag"),
            models.Index(Coalesce("time_lag_seconds", UNKNOWN_TIME_LAG), "name", name="bus_group_time_lag"),
            models.Index(fields=["is_ours", "name"], name="bus_group_ours"),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.lag} behind"


class TopicState(models.Model):
    """A topic of the cluster as it was seen last."""

    class Kind(models.TextChoices):
        EVENTS = "events"
        """In the catalog."""
        DEAD_LETTERS = "dead-letters"
        REPLAY = "replay"
        FOREIGN = "foreign"
        """Nothing of ours."""

    name = models.CharField(max_length=249, primary_key=True)
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.FOREIGN)
    exists = models.BooleanField(default=True, help_text="False: in the catalog, but the cluster doesn't have it.")
    partition_count = models.PositiveIntegerField(default=0)
    records = models.BigIntegerField(default=0, help_text="End offsets less first offsets: it has so many at most.")
    rate = models.FloatField(default=0.0, help_text="Records written per second.")
    last_written_at = models.DateTimeField(null=True, blank=True, help_text="When its end was last seen to move.")
    retention_ms = models.BigIntegerField(null=True, blank=True, help_text="-1: for ever; null: can't be told.")
    consumers = models.JSONField(default=list, help_text="A list of {group, lag, timeLag}.")
    error = models.TextField(blank=True, help_text="Why it couldn't be sampled, since `sampled_at`.")
    sampled_at = models.DateTimeField()
    sparkline = models.JSONField(default=list, help_text="Records per second, as the sparkline of a group.")
    sparkline_at = models.DateTimeField(null=True, blank=True)
    partitions = models.JSONField(default=list, help_text="A list of {partition, first, end}.")

    class Meta:
        indexes = [
            models.Index(fields=["kind", "name"], name="bus_topic_kind"),
        ]

    def __str__(self) -> str:
        return self.name


class ClusterState(models.Model):
    """Kafka as a whole. There is one row, or none before the monitor looked: `ClusterState.objects.first()`."""

    THE_ONE = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=THE_ONE)
    cluster_id = models.CharField(max_length=64, blank=True)
    brokers = models.JSONField(default=list, help_text="A list of {id, host, port}.")
    is_embedded = models.BooleanField(default=False)
    asked_at = models.DateTimeField(help_text="When the monitor last asked, in vain or not.")
    seen_at = models.DateTimeField(null=True, blank=True, help_text="When Kafka last answered.")
    error = models.TextField(blank=True, help_text="Why Kafka can't be reached; empty when it answered last.")
    limits = models.JSONField(default=list, help_text="Sentences: what can't be told of this cluster.")
    foreign_groups = models.PositiveIntegerField(default=0)
    foreign_round_at = models.DateTimeField(
        null=True, blank=True, help_text="When all foreign groups had been looked at last."
    )

    def __str__(self) -> str:
        return f"{self.cluster_id or 'unknown'}: {self.error or 'reachable'}"


class Sample(models.Model):
    """One point of a chart: see `bus.history` for the series and how to read them.

    `values` is what is shown; `parts` is what it was made of, so that more can be added, and minutes made of it.
    """

    series = models.CharField(max_length=260)
    step = models.PositiveSmallIntegerField(help_text="Seconds: 5, kept for an hour, or 60, kept for a day.")
    at = models.DateTimeField(help_text="When it begins.")
    values = models.JSONField(default=dict)
    parts = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["series", "step", "at"], name="bus_sample_once"),
        ]
        indexes = [
            models.Index(fields=["step", "at"], name="bus_sample_age"),
        ]

    def __str__(self) -> str:
        return f"{self.series} at {self.at:%H:%M:%S} for {self.step} s"


class RecordingPosition(models.Model):
    """How far the activity stream is in `Sample`; saved with what was read up to there."""

    name = models.CharField(max_length=50, primary_key=True)
    stream_id = models.CharField(max_length=50, blank=True)
    read_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {self.stream_id}"
