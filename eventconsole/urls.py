"""Addresses of pages and of the API."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("api/", include("eventconsole.api.routes")),
    path("", RedirectView.as_view(url="/api/docs"), name="home"),
    path("login", auth.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout", auth.LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
]
