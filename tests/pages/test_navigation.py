from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from eventconsole.pages import navigation
from tests.pages import states

pytestmark = pytest.mark.django_db


def badge_of_groups() -> navigation.Badge | None:
    return navigation._groups(states.now())


def test_the_worst_time_lag_is_told() -> None:
    states.group("fine", time_lag_seconds=1.0)
    assert badge_of_groups() is None
    states.group("late", time_lag_seconds=250.0)
    badge = badge_of_groups()
    assert badge is not None
    assert (badge.text, badge.tone, badge.meaning) == ("4 min", "amber", "late is behind")


def test_an_old_figure_does_not_pass_for_todays() -> None:
    for name, lag in (("fine", 0.0), ("late", 400.0)):
        states.group(name, time_lag_seconds=lag, sampled_at=states.now() - timedelta(minutes=9))
    badge = badge_of_groups()
    assert badge is not None
    assert badge.text == "?"
    assert "9 min ago: does the monitor run" in badge.meaning


def test_an_installation_without_groups_has_no_badge() -> None:
    assert badge_of_groups() is None


def test_browsers_find_the_icon_without_a_login(client: Client) -> None:
    answer = client.get("/favicon.ico")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/static/favicon.")
