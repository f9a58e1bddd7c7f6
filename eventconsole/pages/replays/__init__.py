"""The pages of replays: the list of operations, and each with its plan, its progress and its outcome."""

from __future__ import annotations

from django.urls import path

from eventconsole.pages.replays import live as live  # registers the rooms
from eventconsole.pages.replays.views import operation, page

urlpatterns = [
    path("replays", page, name="replays"),
    path("replays/<int:replay_id>", operation, name="replay"),
]
