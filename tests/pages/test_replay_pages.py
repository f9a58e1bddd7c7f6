"""The pages of replays: list, plan, progress, outcome."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from bus.deadletterindex.pages import LetterFilter
from bus.models import Replay
from bus.replay import operations
from bus.replay.plan import Choice, plan
from tests.pages.test_dead_letter_pages import fail, text

pytestmark = pytest.mark.django_db


def planned(**wanted: Any) -> Replay:
    return plan(Choice(LetterFilter(**wanted)), "ann", datetime.now(UTC), set()).replay


@pytest.fixture(autouse=True)
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks who is alive."""
    monkeypatch.setattr("eventconsole.pages.replays.views.live_groups", lambda at: set())


def test_empty_list_says_how_to_start_one(operator: Client) -> None:
    page = text(operator, "/replays")
    assert "No replay runs." in page
    assert "Nothing was replayed yet" in page


def test_plan_says_how_many_where_to_and_what_is_odd(operator: Client) -> None:
    for number in range(60):
        fail(number)
    replay = planned(status="open")
    page = text(operator, f"/replays/{replay.pk}")
    assert "60 dead letters" in page
    assert "Start with 20" in page
    assert "billing" in page
    assert "in the catalog" in page  # the made-up group isn't in it


def test_plan_offers_what_it_left_out(operator: Client) -> None:
    fail(1)
    fail(2, group="")
    fail(3, generation=3)
    page = text(operator, f"/replays/{planned(status='open').pk}")
    assert 'data-replan="force"' in page
    assert 'data-replan="allGroups"' in page
    assert "1 dead letter</b>" in page


def test_plan_with_everything_confirmed_leaves_nothing_out(operator: Client) -> None:
    fail(2, group="")
    fail(3, generation=3)
    choice = Choice(LetterFilter(status="open"), force=True, all_groups=True)
    replay = plan(choice, "ann", datetime.now(UTC), set()).replay
    page = text(operator, f"/replays/{replay.pk}")
    assert "data-replan" not in page
    assert "2 dead letters" in page


def test_button_of_a_small_plan_says_the_number_and_the_target(operator: Client) -> None:
    fail(1)
    replay = planned(status="open")
    assert "Replay 1 to billing" in text(operator, f"/replays/{replay.pk}")


def test_reader_sees_the_plan_and_may_not_start_it(visit: Callable[..., Client]) -> None:
    fail(1)
    page = text(visit("read"), f"/replays/{planned(status='open').pk}")
    assert "You lack the permission “replay”" in page


def test_outcome_links_to_the_rows_that_it_counts(operator: Client) -> None:
    for number in range(3):
        fail(number)
    replay = planned(status="open")
    items = list(replay.items.order_by("sequence"))
    for item, state in zip(items, ("handled", "failed again", "handled"), strict=True):
        replay.items.filter(pk=item.pk).update(state=state)
    Replay.objects.filter(pk=replay.pk).update(
        state="completed",
        sent=3,
        handled=2,
        failed_again_same=1,
        started_at=datetime.now(UTC),
        finished_at=datetime.now(UTC),
    )
    page = text(operator, f"/replays/{replay.pk}")
    assert "2 of 3 were handled" in page
    assert "state=failed+again" in page
    response = operator.get(f"/replays/{replay.pk}?state=failed+again")
    assert [row.item.pk for row in response.context["items"].rows] == [items[1].pk]
    response = operator.get(f"/replays/{replay.pk}?state=handled&export=json")
    exported = json.loads(b"".join(response.streaming_content))  # type: ignore[attr-defined]
    assert [row["state"] for row in exported] == ["handled", "handled"]


def test_running_one_is_shown_in_the_card_of_its_error(operator: Client) -> None:
    letter = fail(1)
    fail(2)
    replay = planned(fingerprint=letter.fingerprint, status="open")
    operations.run(replay.pk, "ann", datetime.now(UTC))
    page = text(operator, "/dead-letters")
    card = page.split(f'id="error-{letter.fingerprint}"')[1].split("</article>")[0]
    assert f'data-operation="{replay.pk}"' in card
    assert page.count(f'id="operation-{replay.pk}"') == 1


def test_unknown_replay_says_so(operator: Client) -> None:
    assert "There is no replay 4711" in text(operator, "/replays/4711", 404)


def test_list_has_what_runs_first(operator: Client) -> None:
    for number in range(2):
        fail(number)
    first = planned(status="open")
    operations.run(first.pk, "ann", datetime.now(UTC))
    second = planned(status="open")
    response = operator.get("/replays")
    assert [op.replay.pk for op in response.context["active"]] == [first.pk]
    assert [op.replay.pk for op in response.context["rows"]] == [second.pk, first.pk]


def test_operation_of_another_filter_is_not_in_the_way(operator: Client) -> None:
    fail(1)
    fail(2, topic="order.paid")
    replay = planned(topic="order.paid", status="open")
    operations.run(replay.pk, "ann", datetime.now(UTC))
    mark = f'id="operation-{replay.pk}"'
    assert mark in text(operator, "/dead-letters")
    assert mark in text(operator, "/dead-letters?filter=topic:order.paid")
    assert mark not in text(operator, "/dead-letters?filter=topic:order.created")


def test_one_that_cannot_begin_says_that_nothing_is_lost(operator: Client) -> None:
    fail(1)
    replay = planned(status="open")
    operations.run(replay.pk, "ann", datetime.now(UTC) - timedelta(minutes=1))
    page = text(operator, f"/replays/{replay.pk}")
    assert "the monitor or Kafka is away" in page
    assert "goes on by itself" in page


def test_plan_does_not_claim_what_nobody_knows(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventconsole.pages.replays.views.live_groups", lambda at: None)
    fail(1, group="notification-service-group")
    page = text(operator, f"/replays/{planned(status='open').pk}")
    assert "workers unknown" in page
    assert "has a live worker" not in page


def test_the_rate_can_be_changed_as_long_as_something_goes(operator: Client, visit: Callable[..., Client]) -> None:
    fail(1)
    replay = planned()
    assert "data-rate" not in text(operator, f"/replays/{replay.pk}"), "a plan has a field of its own"
    operations.run(replay.pk, "ann", datetime.now(UTC), rate=500)
    page = text(operator, f"/replays/{replay.pk}")
    assert "at most 500 per second" in page
    assert f'data-rate="{replay.pk}"' in page
    assert 'aria-describedby="new-rate-unit" disabled' in text(visit("read"), f"/replays/{replay.pk}")
    operations.change_rate(replay.pk, 20, "bob", datetime.now(UTC))
    page = text(operator, f"/replays/{replay.pk}")
    assert "at most 20 per second" in page
    assert "changed the rate of replay" in page
    operations.cancel(replay.pk, "ann", datetime.now(UTC))
    assert "data-rate" not in text(operator, f"/replays/{replay.pk}")
