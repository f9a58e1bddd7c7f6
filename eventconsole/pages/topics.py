"""Topics."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from eventconsole.models import Scope
from eventconsole.pages.access import needs


@needs(Scope.READ)
def page(request: HttpRequest, **kwargs: Any) -> HttpResponse:
    """The page."""
    return render(request, "console/plain.html", {"heading": "Topics"})


urlpatterns = [path("topics", page, name="topics")]
