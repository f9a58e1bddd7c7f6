"""Profile: who is logged in, what they may do and where it comes from, and the way out."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from eventconsole.models import Access, ApiToken, Scope

#: What each permission opens, in the words of the pages.
_OPENS = {
    Scope.READ: "every page: events and their payloads, groups, dead letters, topics, workers, audit",
    Scope.PUBLISH: "publish events, and copies of events",
    Scope.REPLAY: "replay, edit, discard and restore dead letters; notes and owners",
    Scope.ADMIN: "pause and resume groups, reset offsets",
}


def profile(request: HttpRequest) -> HttpResponse:
    """Needs a login and nothing else: it is where people learn which permission they lack."""
    user = request.user
    assert isinstance(user, User)
    context = {
        "permissions": permissions_of(user),
        "tokens": ApiToken.objects.filter(created_by=user, revoked_at=None).order_by("name")[:50],
        "groups": list(user.groups.order_by("name").values_list("name", flat=True)),
    }
    return render(request, "console/profile/profile.html", context)


def permissions_of(user: User) -> list[dict[str, Any]]:
    """Each permission with whether the person has it, and by what."""
    labels = dict(Access._meta.permissions)
    by_group = {
        scope: list(groups.order_by("name").values_list("name", flat=True))
        for scope in Scope
        for groups in [user.groups.filter(permissions__codename=scope.value)]
    }
    own = set(user.user_permissions.values_list("codename", flat=True))
    found = []
    for scope in _OPENS:
        has = user.has_perm(f"eventconsole.{scope}")
        by = [f"group {name}" for name in by_group[scope]]
        by += ["given to you"] if scope.value in own else []
        by = ["administrator"] if user.is_superuser else by
        found.append(
            {"name": scope.value, "label": labels[scope.value], "opens": _OPENS[scope], "has": has, "by": ", ".join(by)}
        )
    return found


urlpatterns = [path("profile", profile, name="profile")]
