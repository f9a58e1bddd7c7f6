"""The pages of dead letters: error groups as cards, the list of the same filter, and each dead letter alone."""

from __future__ import annotations

from django.urls import path

from eventconsole.pages.dead_letters import live as live  # registers the rooms
from eventconsole.pages.dead_letters.letter import data, letter
from eventconsole.pages.dead_letters.lists import complete, matching, page

urlpatterns = [
    path("dead-letters", page, name="dead_letters"),
    path("dead-letters/matching", matching, name="dead_letters_matching"),
    path("complete/dead-letters", complete, name="complete_dead_letters"),
    path("dead-letters/<int:letter_id>", letter, name="dead_letter"),
    path("dead-letters/<int:letter_id>/data", data, name="dead_letter_data"),
]
