"""People in front of the pages, without a browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from eventconsole.models import Scope

#: What a hostile producer puts wherever text goes. Pages must show it as text.
HOSTILE = (
    "<script>alert(1)</script></textarea>\"'><img src=x onerror=alert(2)>\u202ertl {{ 7|add:7 }} javascript:alert(3)"
)


@pytest.fixture
def visit(db: None) -> Callable[..., Client]:
    """A client of somebody with these scopes: `visit("read", "replay")`."""

    def enter(*scopes: str, username: str = "ann") -> Client:
        user, _ = User.objects.get_or_create(username=username)
        codenames = [Scope(scope).value for scope in scopes]
        user.user_permissions.set(
            Permission.objects.filter(content_type__app_label="eventconsole", codename__in=codenames)
        )
        client = Client()
        client.force_login(user)
        return client

    return enter


@pytest.fixture
def operator(visit: Callable[..., Client]) -> Client:
    """Somebody who may do everything."""
    return visit(*Scope)


def is_escaped(content: bytes) -> bool:
    """Whether nothing of `HOSTILE` got through as markup."""
    return b"<script>alert" not in content and b"<img src=x" not in content and content.strip() != b"14"
