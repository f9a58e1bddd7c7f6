from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from eventconsole.api.tokens import create_token


def rows(client: Client) -> dict[str, dict[str, object]]:
    return {each["name"]: each for each in client.get("/profile").context["permissions"]}


def test_permissions_and_where_they_come_from(visit: Callable[..., Client]) -> None:
    client = visit("read")
    group = Group.objects.create(name="on call")
    group.permissions.add(Permission.objects.get(codename="replay", content_type__app_label="eventconsole"))
    User.objects.get(username="ann").groups.add(group)
    found = rows(client)
    assert (found["read"]["has"], found["read"]["by"]) == (True, "given to you")
    assert (found["replay"]["has"], found["replay"]["by"]) == (True, "group on call")
    assert found["admin"]["has"] is False


def test_it_opens_for_somebody_without_any_permission(visit: Callable[..., Client]) -> None:
    client = visit()
    assert client.get("/profile").status_code == 200
    assert not any(each["has"] for each in rows(client).values())


def test_own_tokens_are_listed_without_their_secret(visit: Callable[..., Client]) -> None:
    client = visit("read")
    token = create_token("orders", ["publish"], created_by=User.objects.get(username="ann"))
    create_token("of somebody else", ["read"])
    content = client.get("/profile").content.decode()
    assert "orders" in content
    assert token not in content
    assert "of somebody else" not in content


def test_logging_out_takes_a_post(visit: Callable[..., Client]) -> None:
    client = visit("read")
    assert client.get("/logout").status_code == 405
    assert client.post("/logout").status_code == 302
    assert client.get("/profile").status_code == 302
