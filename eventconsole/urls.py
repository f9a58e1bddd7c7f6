"""Addresses of pages and of the API. Each page brings its own."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import include, path

from eventconsole.pages import (
    audit,
    dead_letters,
    event,
    events,
    groups,
    overview,
    profile,
    publish,
    replays,
    topics,
    workers,
)

_PAGES = (overview, events, event, publish, groups, dead_letters, replays, topics, workers, audit, profile)


@login_not_required
def icon(request: HttpRequest) -> HttpResponse:
    """What browsers ask for on pages that name no icon: those of the admin, and answers of the API."""
    return redirect(static("favicon.svg"))


urlpatterns = [
    path("favicon.ico", icon),
    path("api/", include("eventconsole.api.routes")),
    *(pattern for page in _PAGES for pattern in page.urlpatterns),
    path("login", auth.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout", auth.LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
]

handler400 = "eventconsole.pages.errors.bad_request"
handler403 = "eventconsole.pages.errors.forbidden"
handler404 = "eventconsole.pages.errors.not_found"
handler500 = "eventconsole.pages.errors.failed"
