"""Consumer groups: how far behind they are, for how long, why, and what can be done about it."""

from __future__ import annotations

from django.urls import path

from eventconsole.pages.groups import detail, listed, offsets

urlpatterns = [
    path("groups", listed.page, name="groups"),
    path("complete/groups", listed.completions, name="complete-groups"),
    path("groups/<path:name>/offsets", offsets.page, name="group-offsets"),
    path("groups/<path:name>", detail.page, name="group"),
]
