"""API tokens in Django's admin: to see and to revoke. `manage.py create_token` makes them and shows them once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from eventconsole.models import ApiToken

if TYPE_CHECKING:
    Base = admin.ModelAdmin[ApiToken]
else:
    Base = admin.ModelAdmin


@admin.register(ApiToken)
class ApiTokenAdmin(Base):
    list_display = ["name", "prefix", "scopes", "topics", "expires_at", "last_used_at", "revoked_at"]
    search_fields = ["name", "prefix"]
    actions = ["revoke"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    @admin.action(description="Revoke", permissions=["delete"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> None:
        count = tokens.filter(revoked_at=None).update(revoked_at=timezone.now())
        self.message_user(request, f"{count} revoked")
