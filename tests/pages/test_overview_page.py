from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from bus.models import GroupState, Lease
from bus.presence import GroupPresence, WorkerPresence
from eventconsole.live import rooms
from eventconsole.pages import charts, navigation, sight
from eventconsole.pages.sight import RedisSeen, Seen
from tests.pages import states
from tests.pages.conftest import HOSTILE, is_escaped

pytestmark = pytest.mark.django_db

NAME = "notification-service-group"


def worker(*groups: GroupPresence, seen: float = 0.0, name: str = "web-1-7-abc") -> WorkerPresence:
    """One that gave its last sign of life so many seconds before it is looked at."""
    return WorkerPresence(name, "web-1", 7, "", "1.0", 8, 0.0, -seen, groups=groups or (serves(NAME),))


def serves(group: str, **more: Any) -> GroupPresence:
    return GroupPresence(
        **{"group": group, "partitions": {}, "rate": 1, "in_flight": 0, "oldest_seconds": 0, "stuck": 0, **more}
    )


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Kafka and Redis are there, with a worker; call it for something else."""
    charts.samples.forget()
    navigation.badges.forget()

    def see(workers: tuple[WorkerPresence, ...] = (), kafka: str = "", redis: str = "") -> None:
        def look_at_kafka() -> Seen[float]:
            return Seen(0.01, time.time(), kafka, time.time() - 12.2 if kafka else None)

        def look_at_redis() -> Seen[RedisSeen]:
            there = tuple(replace(each, seen_at=time.time() + each.seen_at) for each in workers)
            return Seen(RedisSeen(there, 0.001), time.time(), redis, time.time() - 12.2 if redis else None)

        now = time.time()
        monkeypatch.setattr(sight.kafka, "see", look_at_kafka)
        monkeypatch.setattr(sight.redis, "see", look_at_redis)
        monkeypatch.setattr(sight.redis_fitness, "see", lambda: Seen((), now))

    see((worker(),))
    return see


def said(client: Client, address: str = "/") -> Any:
    response = client.get(address)
    assert response.status_code == 200
    return response.context["answer"]


def test_all_is_well_is_said_with_how_much_happens(operator: Client) -> None:
    states.monitor_runs()
    states.group(NAME)
    states.samples("outcomes", {"published": 400.0, "processed": 412.0})
    answer = said(operator)
    assert answer.tone == "good"
    assert answer.first.text == "All is well: 412 events/s handled, nothing waits."


def test_events_whose_age_nobody_knows_are_not_said_to_be_fresh(operator: Client, seen: Callable[..., None]) -> None:
    seen((worker(serves(NAME), serves("analytics-service-group")),))
    states.monitor_runs()
    states.group(NAME, lag=7, time_lag_seconds=None)
    assert "7 events in hand, how old isn't known" in said(operator).first.text
    states.group("analytics-service-group", lag=2, time_lag_seconds=3.0)
    assert "9 events in hand, the oldest 3.0 s old as far as is known" in said(operator).first.text


def test_it_never_says_that_all_is_well_when_nothing_is_known(operator: Client) -> None:
    states.monitor_runs()
    assert "isn't known yet" in said(operator).first.text


def test_a_group_that_is_behind_is_named_with_why(operator: Client) -> None:
    states.monitor_runs()
    states.group(NAME, lag=1204, time_lag_seconds=252, reason="3 of 6 partitions wait for retries of SmtpError")
    first = said(operator).first
    assert first.text == (
        f"{NAME} is 4 min 12 s behind, 1,204 events: 3 of 6 partitions wait for retries of SmtpError."
    )
    assert first.url == f"/groups/{NAME}"


def test_what_stops_everything_comes_before_what_slows_a_group(operator: Client, seen: Callable[..., None]) -> None:
    seen((worker(),), kafka="Connection refused", redis="Connection refused")
    states.monitor_runs()
    states.group(NAME, lag=9, time_lag_seconds=4000)
    answer = said(operator)
    assert answer.first.text.startswith("Kafka can't be reached for 12 s")
    assert [each.text.split()[0] for each in answer.others[:2]] == ["Redis", NAME]


def test_workers_are_not_called_late_while_redis_is_away(operator: Client, seen: Callable[..., None]) -> None:
    seen((worker(),), redis="gone")
    states.monitor_runs()
    states.group(NAME)
    texts = [each.text for each in (said(operator).first, *said(operator).others)]
    assert not any("worker" in text.lower() and "silent" in text for text in texts)
    assert not any("No worker" in text for text in texts)


def test_a_monitor_that_does_not_run_is_told_with_the_age_of_what_is_shown(operator: Client) -> None:
    states.monitor_runs()
    states.group(NAME, sampled_at=states.now() - timedelta(minutes=3))
    Lease.objects.update(expires_at=states.now() - timedelta(minutes=2))
    first = said(operator).first
    assert "The monitor doesn't run" in first.text
    assert first.at == GroupState.objects.get().sampled_at


def test_a_monitor_that_does_not_write_is_told(operator: Client) -> None:
    states.monitor_runs()
    states.group(NAME, sampled_at=states.now() - timedelta(minutes=3))
    assert "lag is as of" in said(operator).first.text


def test_no_worker_at_all(operator: Client, seen: Callable[..., None]) -> None:
    seen(())
    states.monitor_runs()
    states.group(NAME, lag=4, workers=0)
    assert "No worker runs, so nothing is handled" in said(operator).first.text


def test_a_group_without_worker(operator: Client, seen: Callable[..., None]) -> None:
    seen((worker(serves("analytics-service-group")),))
    states.monitor_runs()
    states.group(NAME, lag=4, workers=0)
    assert said(operator).first.text == f"{NAME} has no worker: 4 events wait."


def test_stuck_handlers_and_silent_workers(operator: Client, seen: Callable[..., None]) -> None:
    stuck = worker(serves(NAME, stuck=1, in_flight=1, oldest_seconds=90))
    seen((stuck, worker(seen=45, name="web-2-9-x"), worker(seen=7, name="web-3-9-x")))
    states.monitor_runs()
    states.group(NAME)
    answer = said(operator)
    assert "1 handler of" in answer.first.text
    assert "1 min 30 s" in answer.first.text
    assert any("fell silent" in each.text for each in answer.others)
    assert any("no sign of life" in each.text for each in answer.others)


def test_new_errors_are_told_and_old_ones_are_not(operator: Client) -> None:
    states.monitor_runs()
    states.group(NAME)
    states.error_group("old", age=timedelta(hours=3))
    assert said(operator).tone == "good"
    states.error_group("new")
    assert "1 new kind of errors within 15 min: SmtpError: refused (3 times)" in said(operator).first.text


def test_charts_begin_and_end_where_their_range_does_and_keep_gaps(operator: Client) -> None:
    states.monitor_runs()
    states.samples("outcomes", {"processed": 5.0}, count=20)
    states.samples("outcomes", {"processed": 7.0}, count=20, until=states.now() - timedelta(minutes=5))
    chart = operator.get("/").context["charts"][0]
    processed = chart.points[1]
    assert {5.0, 7.0, None} <= set(processed)
    assert processed[-1] == 5.0, "what isn't written yet is no gap"
    assert all(later - earlier == 5 for earlier, later in zip(chart.points[0], chart.points[0][1:], strict=False))


@pytest.mark.parametrize("name", ["15m", "1h", "6h", "24h", "nonsense"])
def test_every_range_has_a_bounded_number_of_points(operator: Client, name: str) -> None:
    states.samples("outcomes", {"processed": 5.0}, step=60, count=1440)
    response = operator.get(f"/?range={name}")
    assert 100 < len(response.context["charts"][0].points[0]) <= 360


def test_text_of_others_stays_text(operator: Client) -> None:
    states.monitor_runs()
    states.group(HOSTILE, lag=5, time_lag_seconds=500, reason=HOSTILE)
    states.error_group("x", message=HOSTILE)
    assert is_escaped(operator.get("/").content)


def test_it_takes_few_queries_however_many_groups_there_are(
    operator: Client, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    states.monitor_runs()
    states.many_groups(500)
    with django_assert_max_num_queries(18):
        operator.get("/")


def test_a_reader_may_look_and_others_may_not(visit: Callable[..., Client]) -> None:
    assert visit("read").get("/").status_code == 200
    assert visit("publish").get("/").status_code == 403


def test_the_rail_is_drawn_without_a_query_and_brought_up_to_date_by_its_room(operator: Client) -> None:
    states.group(NAME, lag=5, time_lag_seconds=400)
    states.error_group("e", open_letters=1204)
    assert "1,204 open dead letters" not in operator.get("/profile").content.decode()
    room = rooms.find("nav")
    assert room is not None
    drawn = "".join(room.render({"section": "/groups"}).pieces)
    assert "1,204 open dead letters" in drawn
    assert f"{NAME} is behind" in drawn
    assert drawn.count('aria-current="page"') == 1
    assert "1,204 open dead letters" in operator.get("/profile").content.decode()
