from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from eventconsole.api.tokens import digest_of, load_caller
from eventconsole.models import ApiToken

pytestmark = pytest.mark.django_db


@pytest.fixture
def administrator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_a_new_token_is_shown_once_and_works(administrator: Client) -> None:
    form = {"name": "orders", "scopes": ["publish", "read"], "topics": "order.*, payment.failed", "expires_days": "90"}
    content = administrator.post("/admin/eventconsole/apitoken/add/", form, follow=True).content.decode()
    found = re.search(r"evc_[\w-]{43}", content)
    assert found
    caller = load_caller(digest_of(found[0]))
    assert caller is not None
    assert (caller.name, caller.scopes, caller.topics) == (
        "orders",
        frozenset({"publish", "read"}),
        ("order.*", "payment.failed"),
    )
    assert ApiToken.objects.get().created_by == User.objects.get(username="root")
    assert found[0] not in administrator.get("/admin/eventconsole/apitoken/").content.decode()


def test_a_token_without_a_scope_is_refused(administrator: Client) -> None:
    content = administrator.post("/admin/eventconsole/apitoken/add/", {"name": "x"}).content.decode()
    assert "This field is required" in content
    assert not ApiToken.objects.exists()


def test_one_can_be_revoked_and_not_changed(administrator: Client) -> None:
    administrator.post("/admin/eventconsole/apitoken/add/", {"name": "orders", "scopes": ["read"]})
    token = ApiToken.objects.get()
    administrator.post("/admin/eventconsole/apitoken/", {"action": "revoke", "_selected_action": [token.pk]})
    token.refresh_from_db()
    assert token.revoked_at is not None
    administrator.post(f"/admin/eventconsole/apitoken/{token.pk}/change/", {"name": "other", "scopes": ["admin"]})
    token.refresh_from_db()
    assert token.scopes == ["read"]
