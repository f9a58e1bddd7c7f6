from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from bus.models import ClusterState, GroupState
from bus.presence import GroupPresence, WorkerPresence
from eventconsole.live import rooms
from eventconsole.live.rooms import ParamsProblem
from eventconsole.pages import charts, sight
from eventconsole.pages.groups import listed
from eventconsole.pages.sight import RedisSeen, Seen
from tests.pages import states
from tests.pages.conftest import HOSTILE, is_escaped

pytestmark = pytest.mark.django_db

NAME = "notification-service-group"


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Kafka and Redis are there, without workers; call it for something else."""
    charts.samples.forget()

    def see(*workers: WorkerPresence, redis: str = "") -> None:
        monkeypatch.setattr(sight.kafka, "see", lambda: Seen(0.01, time.time()))
        monkeypatch.setattr(sight.redis, "see", lambda: Seen(RedisSeen(workers, 0.001), time.time(), redis))

    see()
    return see


def worker(name: str = "web-1-7-abc", group: str = NAME, **more: Any) -> WorkerPresence:
    nothing = {"partitions": {"order.created[0]": 1}, "rate": 1, "in_flight": 0, "oldest_seconds": 0, "stuck": 0}
    serves = GroupPresence(group, **{**nothing, **more})
    return WorkerPresence(name, "web-1", 7, "", "1.0", 8, time.time() - 60, time.time() + 5, groups=(serves,))


def names(client: Client, address: str) -> list[str]:
    return [row.group.name for row in client.get(address).context["rows"]]


# -- the list -----------------------------------------------------------------------------------------------------


def test_those_that_are_longest_behind_come_first(operator: Client) -> None:
    states.group("a", lag=5, time_lag_seconds=4.0)
    states.group("b", lag=900, time_lag_seconds=2.0)
    states.group("c", lag=1, time_lag_seconds=None)
    assert names(operator, "/groups") == ["a", "b", "c"]
    assert names(operator, "/groups?sort=-lag") == ["b", "a", "c"]
    assert names(operator, "/groups?sort=name") == ["a", "b", "c"]
    assert names(operator, "/groups?sort=nonsense") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind:foreign", {"theirs"}),
        ("kind:ours", {"billing", "mail"}),
        ("is:behind", {"mail"}),
        ("is:waiting", {"mail"}),
        ("is:without-worker", {"billing"}),
        ("-is:behind", {"billing", "theirs"}),
        ("topic:payment.*", {"billing"}),
        ("topic:order.created", {"mail", "theirs"}),
        ("group:b*g", {"billing"}),
        ("group:billing,mail", {"billing", "mail"}),
        ("ill", {"billing"}),
        ("kind:ours -group:mail", {"billing"}),
    ],
)
def test_the_filter_of_the_address_holds(operator: Client, text: str, expected: set[str]) -> None:
    states.group("mail", lag=7, time_lag_seconds=99.0, reason="No worker runs.")
    states.group("billing", topics=["payment.failed"], workers=0)
    states.group("theirs", is_ours=False, workers=0)
    assert set(names(operator, f"/groups?filter={text}")) == expected


def test_what_is_wrong_with_a_filter_is_said_and_nothing_is_hidden(operator: Client) -> None:
    states.group("mail")
    response = operator.get("/groups?filter=colour:red")
    assert "there is no field" in response.context["problem"]
    assert [row.group.name for row in response.context["rows"]] == ["mail"]


def test_pages_follow_each_other_without_a_gap_or_a_repetition(operator: Client) -> None:
    states.many_groups(120)
    found: list[str] = []
    address: str | None = "/groups?sort=-lag"
    while address:
        context = operator.get(address).context
        found += [row.group.name for row in context["rows"]]
        address = f"/groups?sort=-lag&cursor={context['next']}" if context["next"] else None
    assert len(found) == len(set(found)) == 120


def test_a_cursor_of_somewhere_else_is_told(operator: Client) -> None:
    states.group("mail")
    response = operator.get("/groups?cursor=nonsense")
    assert "first page" in response.context["problem"]
    assert response.status_code == 200


def test_it_can_be_taken_away_whole(operator: Client) -> None:
    states.many_groups(620)
    response = operator.get("/groups?export=csv&sort=name")
    rows = list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))  # type: ignore[attr-defined]
    assert [row["group"] for row in rows] == [f"group-{number:05}" for number in range(620)]
    as_json = json.loads(b"".join(operator.get("/groups?export=json").streaming_content))  # type: ignore[attr-defined]
    assert len(as_json) == 620
    assert "partitions" in as_json[0]


def test_an_empty_list_says_why(operator: Client) -> None:
    assert "run_monitor" in operator.get("/groups").content.decode()
    states.group("mail")
    assert "No group fits" in operator.get("/groups?filter=is:behind").content.decode()


def test_what_the_cluster_cannot_tell_is_said(operator: Client) -> None:
    states.monitor_runs()
    ClusterState.objects.update(limits=["The embedded Kafka can't list consumer groups."])
    assert "can&#x27;t list consumer groups" in operator.get("/groups").content.decode()


def test_rows_keep_their_places_while_lags_change(operator: Client) -> None:
    states.group("a", lag=5, time_lag_seconds=4.0)
    states.group("b", lag=4, time_lag_seconds=2.0)
    params = listed.names_as_params(["a", "b"])
    GroupState.objects.filter(name="b").update(lag=70_000, time_lag_seconds=900)
    html = rooms.find("groups").render(params).html  # type: ignore[union-attr]
    assert html.index(">a<") < html.index(">b<")
    assert "70,000" in html


def test_a_page_of_the_longest_names_fits_into_its_room() -> None:
    long = [f"{number:02}{'ä' * 247}" for number in range(50)]
    params = listed.names_as_params(long)
    room = rooms.find("groups")
    assert room is not None
    assert listed.names_of(room.validated(params)) == long
    assert all(len(value) <= 2000 for value in params.values())


@pytest.mark.parametrize(
    "params", [{"n0": "{}"}, {"n0": "[1]"}, {"n0": "nonsense"}, {"name": "x"}, {"n0": '["x"]', "n99": "[]"}]
)
def test_a_room_takes_nothing_else(params: dict[str, str]) -> None:
    room = rooms.find("groups")
    assert room is not None
    with pytest.raises(ParamsProblem):
        room.validated(params)


def test_text_of_others_stays_text(operator: Client, seen: Callable[..., None]) -> None:
    seen(worker(name=HOSTILE, group=HOSTILE, oldest_event=HOSTILE, in_flight=1, waits_for=HOSTILE))
    waits = {"why": HOSTILE, "detail": HOSTILE, "key": HOSTILE, "until": None}
    parts = [states.partition(topic=HOSTILE, lag=3, waits=waits)]
    text = {"reason": HOSTILE, "state": HOSTILE[:30], "error": HOSTILE, "topics": [HOSTILE]}
    states.group(HOSTILE, lag=3, time_lag_seconds=99, partitions=parts, **text)
    for address in ("/groups", f"/groups/{_quoted(HOSTILE)}", f"/groups/{_quoted(HOSTILE)}/offsets", "/workers"):
        response = operator.get(address)
        assert response.status_code == 200
        assert is_escaped(response.content)


def _quoted(name: str) -> str:

    return quote(name, safe="")


# -- one group ----------------------------------------------------------------------------------------------------


def test_it_says_how_far_behind_for_how_long_and_until_when(operator: Client) -> None:
    why = "3 of 6 partitions wait for retries of X."
    states.group(NAME, lag=12402, time_lag_seconds=252, drain_seconds=540, reason=why)
    answer = operator.get(f"/groups/{NAME}").context["answer"]
    assert answer["text"] == "lag 12,402 events · 4 min 12 s behind · drains in about 9 min"
    assert answer["why"] == why
    assert answer["tone"] == "warn"


def test_each_partition_says_where_it_is_and_why_it_waits(operator: Client) -> None:
    waits = {
        "why": "retry",
        "detail": "attempt 2 failed: SmtpError",
        "key": "order-77",
        "eventId": "e-1",
        "until": 1790000000000,
    }
    states.group(
        NAME, lag=4, partitions=[states.partition(lag=4, timeLag=240.0, waits=waits), states.partition(number=1)]
    )
    content = operator.get(f"/groups/{NAME}").content.decode()
    for expected in ("order.created[0]", "order-77", "attempt 2 failed: SmtpError", 'href="/events/e-1"', "1,004"):
        assert expected in content


def test_a_group_of_the_catalog_that_was_never_sampled_has_a_page(operator: Client) -> None:
    response = operator.get(f"/groups/{NAME}")
    assert response.status_code == 200
    assert "hasn&#x27;t been looked at yet" in response.content.decode()


def test_an_unknown_group_is_not_found_and_says_why(operator: Client) -> None:
    response = operator.get("/groups/nobody")
    assert response.status_code == 404
    assert "The monitor looks every few seconds" in response.content.decode()


def test_what_cannot_be_done_to_a_foreign_group_is_disabled_with_the_reason(operator: Client) -> None:
    states.group("theirs", is_ours=False, workers=0)
    content = operator.get("/groups/theirs").content.decode()
    assert "only groups whose workers belong to this installation can be paused" in content
    assert 'data-opens="pause"' not in content


def test_a_reader_sees_the_buttons_and_which_permission_is_missing(visit: Callable[..., Client]) -> None:
    states.group(NAME)
    content = visit("read").get(f"/groups/{NAME}").content.decode()
    assert "You lack the permission “admin”" in content
    offsets = visit("read").get(f"/groups/{NAME}/offsets").content.decode()
    assert "You lack the permission “admin”" in offsets


def test_the_room_shows_each_viewer_what_that_viewer_may_do() -> None:
    states.group(NAME)
    room = rooms.find("group")
    assert room is not None
    params = room.validated({"name": NAME})
    reader = "".join(room.render(params, frozenset({"read"})).pieces)
    admin = "".join(room.render(params, frozenset({"read", "admin"})).pieces)
    assert "You lack the permission" in reader
    assert "You lack the permission" not in admin


def test_its_dead_letters_are_counted_and_linked(operator: Client) -> None:
    states.group(NAME)
    states.error_group("f1", open_letters=1180)
    content = operator.get(f"/groups/{NAME}").content.decode()
    assert "1,180 open dead letters" in content
    assert f"/dead-letters?filter=group%3A{NAME}" in content


def test_handlers_are_listed_with_their_options(operator: Client) -> None:
    states.group(NAME)
    found = operator.get(f"/groups/{NAME}").context["handlers"]
    topics = sorted(topic for _, its in found for topic in its)
    assert topics
    assert all(handler.policy.max_attempts == 4 for handler, _ in found)


def test_a_group_with_workers_cannot_be_reset_and_says_who_they_are(
    operator: Client, seen: Callable[..., None]
) -> None:
    seen(worker())
    states.group(NAME)
    content = operator.get(f"/groups/{NAME}/offsets").content.decode()
    assert "web-1-7-abc on web-1" in content
    assert 'data-members="1"' in content


def test_redis_away_means_that_nobody_knows_the_members(operator: Client, seen: Callable[..., None]) -> None:
    seen(redis="Connection refused")
    states.group(NAME, member_details=[])
    content = operator.get(f"/groups/{NAME}").content.decode()
    assert "Who works for it isn't known" in content


def test_very_many_partitions_are_cut_and_it_says_so(operator: Client) -> None:
    parts = [states.partition(number=number, lag=number) for number in range(1200)]
    states.group(NAME, partitions=parts, partition_count=1200, lag=5)
    response = operator.get(f"/groups/{NAME}")
    assert len(response.context["parts"]) == 500
    assert min(part.known["lag"] for part in response.context["parts"]) == 700
    assert "the 500 with the largest lag of 1,200" in response.content.decode()


# -- workers ------------------------------------------------------------------------------------------------------


def silent(seconds: float, **more: Any) -> WorkerPresence:

    found = worker(**more)
    return replace(found, seen_at=time.time() - seconds)


def test_workers_that_need_somebody_come_first(operator: Client, seen: Callable[..., None]) -> None:
    seen(worker(name="a"), silent(600, name="z"), worker(name="m", stuck=1, in_flight=1, oldest_seconds=90))
    context = operator.get("/workers").context
    assert [each.worker.worker for each in context["standings"]] == ["z", "m", "a"]
    assert context["answer"].tone == "bad"


def test_a_mix_of_versions_is_pointed_out(operator: Client, seen: Callable[..., None]) -> None:

    seen(worker(name="a"), replace(worker(name="b"), version="2.0"))
    assert "different versions: 1 × 1.0, 1 × 2.0" in operator.get("/workers").context["answer"].text


def test_no_worker_is_bad_news_and_says_how_to_start_one(operator: Client) -> None:
    content = operator.get("/workers").content.decode()
    assert "manage.py run_consumer --all" in content


def test_workers_can_be_taken_away(operator: Client, seen: Callable[..., None]) -> None:
    seen(worker())
    response = operator.get("/workers?export=json")
    assert json.loads(b"".join(response.streaming_content))[0]["group"] == NAME  # type: ignore[attr-defined]


# -- at scale -----------------------------------------------------------------------------------------------------


def test_ten_thousand_groups_cost_a_page_no_more_queries(
    operator: Client, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    states.monitor_runs()
    states.many_groups(2000)
    for address in ("/groups", "/groups?filter=topic:order.*&sort=-lag", "/groups/group-00003", "/workers"):
        operator.get(address)
        with django_assert_max_num_queries(14):
            assert operator.get(address).status_code == 200


def test_sampling_long_ago_is_visible(operator: Client) -> None:
    states.group(NAME, sampled_at=states.now() - timedelta(hours=1))
    content = operator.get(f"/groups/{NAME}").content.decode()
    assert "sampled <time" in content
    assert "Nobody has looked at it for 1 h" in content
    assert "Nothing waits" not in content
    listed = operator.get("/groups").content.decode()
    assert "not looked at" in listed
    assert ">fine<" not in listed


def test_a_round_over_foreign_groups_may_take_minutes(operator: Client) -> None:
    states.group("theirs", is_ours=False, sampled_at=states.now() - timedelta(minutes=3))
    assert "not looked at" not in operator.get("/groups").content.decode()
