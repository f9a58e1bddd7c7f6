"""API tokens, and what people and tokens may do."""

from __future__ import annotations

from enum import StrEnum

from django.conf import settings
from django.db import models


class Scope(StrEnum):
    """What a token may do. People get the same as permissions (`eventconsole.publish`, …); administrators have all."""

    #: Publish events.
    PUBLISH = "publish"
    #: See events, what became of them, and the health of the service.
    READ = "read"
    #: Deliver dead letters again, or discard them.
    REPLAY = "replay"
    #: Change what runs: pause groups, move offsets, manage tokens.
    ADMIN = "admin"


class Access(models.Model):
    """No table: it gives the scopes a place among Django's permissions, so that people and groups can have them."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [
            (Scope.PUBLISH.value, "Publish events"),
            (Scope.READ.value, "See events and what became of them"),
            (Scope.REPLAY.value, "Replay or discard dead letters"),
            (Scope.ADMIN.value, "Change what runs"),
        ]

    def __str__(self) -> str:
        return "access"


class ApiToken(models.Model):
    """A bearer token for the API. Only its SHA-256 is kept: a secret of 256 random bits needs no slow hash."""

    name = models.CharField(max_length=100, help_text="Stands in published events as their publisher.")
    prefix = models.CharField(max_length=16, help_text="The token's beginning, to recognise it by.")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the token, in hexadecimal.")
    scopes = models.JSONField(default=list)
    topics = models.JSONField(
        default=list, blank=True, help_text="Topics it may use, such as order.* ; empty means all topics."
    )
    created_at = models.DateTimeField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="Up to a minute old.")
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
