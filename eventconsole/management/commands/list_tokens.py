"""manage.py list_tokens"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from eventconsole.models import ApiToken


class Command(BaseCommand):
    help = "List the API tokens: what they may do, when they were last used, whether they still work."

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        for token in ApiToken.objects.order_by("name", "created_at"):
            if token.revoked_at is not None:
                state = f"revoked {token.revoked_at:%Y-%m-%d}"
            elif token.expires_at is None:
                state = "good"
            else:
                state = f"{'expired' if token.expires_at <= now else 'good until'} {token.expires_at:%Y-%m-%d}"
            used = "never used" if token.last_used_at is None else f"used {token.last_used_at:%Y-%m-%d %H:%M}"
            topics = ",".join(token.topics) or "all topics"
            self.stdout.write(f"{token.prefix}…  {token.name}  {','.join(token.scopes)}  {topics}  {state}  {used}")
