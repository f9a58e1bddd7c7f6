"""Consumer groups over the API: what is seen, paused, resumed and reset, and by whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from bus import conf, handlers
from bus.control.offsets import apply as resets
from bus.control.offsets import plan as plans
from bus.control.offsets.plan import Plan, Row, To
from bus.control.offsets.sample import Sample
from bus.handlers import Handler
from bus.ledger import Ledger
from bus.models import AuditEntry, GroupState
from bus.replay.refusals import NotPossibleError
from eventconsole.api.tokens import Caller

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("may_ask_the_database")]
GROUP = "notification-service-group"
FOREIGN = "their-group"
AT = datetime(2026, 11, 27, 12, tzinfo=UTC)
STEER = {"reason": "bank is down"}


@pytest.fixture(autouse=True)
def place(redis_url: str, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(handlers, "registry", handlers.Registry())
    handlers.registry.add(Handler(GROUP, ("order.created", "payment.failed"), lambda data, metadata: None))
    with conf.override(redis_url_given=redis_url, redis_prefix=unique("test")):
        yield


@pytest.fixture
def seen() -> None:
    """What the monitor saw: a group of ours that is behind, a foreign one that isn't."""
    partitions = [
        {"topic": topic, "partition": 0, "end": end, "committed": 3, "lag": end - 3, "timeLag": lag, "rate": 1.0}
        for topic, end, lag in (("order.created", 10, 4.0), ("payment.failed", 100, 60.0))
    ]
    GroupState.objects.create(
        name=GROUP, is_ours=True, state="stable", members=2, topics=["order.created", "payment.failed"],
        lag=104, time_lag_seconds=60.0, partitions=partitions, sampled_at=AT, reason="waits for a retry",
    )  # fmt: skip
    GroupState.objects.create(name=FOREIGN, topics=["user.deleted"], lag=5, sampled_at=AT)


def limited(callers: dict[str, Caller], *topics: str, scopes: str = "read admin") -> dict[str, str]:
    callers["some"] = Caller("somebody", frozenset(scopes.split()), topics)
    return {"Authorization": "Bearer some"}


async def post(api: httpx.AsyncClient, path: str, body: Any, **headers: str) -> httpx.Response:
    return await api.post(f"/api/groups/{path}", json=body, headers=headers)


def problem(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return response.json()


@pytest.mark.usefixtures("seen")
async def test_groups_are_listed_as_the_monitor_saw_them(api: httpx.AsyncClient) -> None:
    found = (await api.get("/api/groups")).json()
    assert [each["name"] for each in found["data"]] == [GROUP, FOREIGN]
    first = found["data"][0]
    assert (first["lag"], first["timeLag"], first["members"], first["reason"]) == (104, 60.0, 2, "waits for a retry")
    assert (first["sampledAt"], first["pauses"], first["epoch"]) == ("2026-11-27T12:00:00.000Z", [], 0)

    names = []
    for sort, order in (("name", None), ("name", "desc"), ("timeLag", "asc"), ("lag", "asc")):
        params: dict[str, Any] = {"sort": sort, "limit": 1, **({"order": order} if order else {})}
        page = (await api.get("/api/groups", params=params)).json()
        rest = (await api.get("/api/groups", params={**params, "cursor": page["next"]})).json()
        assert rest["next"] is None
        names.append([each["name"] for each in (*page["data"], *rest["data"])])
    assert names == [[GROUP, FOREIGN], [FOREIGN, GROUP], [FOREIGN, GROUP], [FOREIGN, GROUP]]
    assert [each["name"] for each in (await api.get("/api/groups?ours=false")).json()["data"]] == [FOREIGN]
    assert problem(await api.get("/api/groups?sorted=name"), 422)["field"] == "sorted"
    problem(await api.get("/api/groups?cursor=nonsense"), 422)


@pytest.mark.usefixtures("seen")
async def test_a_group_is_shown_with_its_partitions_and_what_can_be_done(api: httpx.AsyncClient) -> None:
    found = (await api.get(f"/api/groups/{GROUP}")).json()["data"]
    assert [(each["topic"], each["lag"]) for each in found["partitions"]] == [
        ("order.created", 7),
        ("payment.failed", 97),
    ]
    assert found["possible"] == ["pause", "resume", "reset-offsets"]
    assert (await api.get(f"/api/groups/{FOREIGN}")).json()["data"]["possible"] == ["reset-offsets"]
    assert "GET /api/groups" in problem(await api.get("/api/groups/nobody"), 404)["detail"]


async def test_a_group_that_nobody_has_looked_at_says_so(api: httpx.AsyncClient) -> None:
    found = (await api.get(f"/api/groups/{GROUP}")).json()["data"]
    assert (found["lag"], found["sampledAt"], found["topics"]) == (None, None, ["order.created", "payment.failed"])
    assert "run_monitor" in found["error"]


@pytest.mark.usefixtures("seen")
async def test_a_token_for_some_topics_sees_these_only(api: httpx.AsyncClient, callers: dict[str, Caller]) -> None:
    mine = limited(callers, "order.*")
    (listed,) = (await api.get("/api/groups", headers=mine)).json()["data"]
    one = (await api.get(f"/api/groups/{GROUP}", headers=mine)).json()["data"]
    for found in (listed, one):
        assert (found["topics"], found["lag"], found["timeLag"]) == (["order.created"], 7, 4.0)
        assert found["reason"] == ""
    assert [each["topic"] for each in one["partitions"]] == ["order.created"]
    problem(await api.get(f"/api/groups/{FOREIGN}", headers=mine), 404)


async def test_a_group_is_paused_and_resumed(api: httpx.AsyncClient) -> None:
    answered = (await post(api, f"{GROUP}/pause", STEER)).json()
    assert answered["message"] == f"Group {GROUP} is paused; workers obey within 2 s"
    assert answered["data"]["told"] is True
    (paused,) = answered["data"]["pauses"]
    assert (paused["topic"], paused["who"], paused["why"]) == ("", "tester", "bank is down")
    mirrored = Ledger().mirror.read()
    assert mirrored is not None
    assert mirrored.pause(GROUP).whole

    refused = problem(await post(api, f"{GROUP}/pause", {}), 409)
    assert (refused["who"], refused["possible"]) == ("tester", ["resume"])
    await post(api, f"{GROUP}/pause", {"topic": "order.created"})
    answered = (await post(api, f"{GROUP}/resume", {})).json()
    assert [each["topic"] for each in answered["data"]["pauses"]] == ["order.created"]
    assert problem(await post(api, f"{GROUP}/resume", {}), 409)["possible"] == ["pause"]
    whats = list(AuditEntry.objects.order_by("pk").values_list("who", "what", "outcome"))
    assert whats == [
        ("tester", "group.pause", "done"), ("tester", "group.pause", "done"), ("tester", "group.resume", "done"),
    ]  # fmt: skip


@pytest.mark.usefixtures("seen")
async def test_what_can_not_be_paused_is_refused(api: httpx.AsyncClient) -> None:
    assert "only groups whose workers" in problem(await post(api, f"{FOREIGN}/pause", {}), 404)["detail"]
    refused = problem(await post(api, f"{GROUP}/pause", {"topic": "user.deleted"}), 422)
    assert (refused["field"], "it handles order.created, payment.failed" in refused["detail"]) == ("topic", True)
    assert problem(await post(api, f"{GROUP}/pause", {"topics": ["order.created"]}), 422)["field"] == "topics"


async def test_without_redis_a_pause_stands_and_says_that_workers_do_not_know(api: httpx.AsyncClient) -> None:
    with conf.override(redis_url_given="redis://127.0.0.1:1/0"):
        answered = (await post(api, f"{GROUP}/pause", STEER)).json()
    assert answered["data"]["told"] is False
    assert "once the monitor has told them" in answered["message"]


async def test_a_token_for_some_topics_steers_these_only(api: httpx.AsyncClient, callers: dict[str, Caller]) -> None:
    mine = limited(callers, "order.*")
    refused = problem(await post(api, f"{GROUP}/pause", {}, **mine), 403)
    assert "it may steer order.created" in refused["detail"]
    problem(await post(api, f"{GROUP}/pause", {"topic": "payment.failed"}, **mine), 403)
    await post(api, f"{GROUP}/pause", {"topic": "payment.failed"})
    answered = await post(api, f"{GROUP}/pause", {"topic": "order.created"}, **mine)
    assert [each["topic"] for each in answered.json()["data"]["pauses"]] == ["order.created"]
    problem(await post(api, f"{GROUP}/offsets/plan", {"to": "latest", "topics": ["payment.failed"]}, **mine), 403)
    move = {"topic": "payment.failed", "partition": 0, "before": 1, "after": 0}
    problem(await post(api, f"{GROUP}/offsets/apply", {"offsets": [move], "epoch": 0}, **mine), 403)
    move["topic"] = "order.created"
    again = {"offsets": [move], "epoch": 0, "handleAgain": True}
    problem(await post(api, f"{GROUP}/offsets/apply", again, **mine), 403)


async def test_a_plan_says_what_a_reset_would_do(api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def plan(group: str, target: plans.Target, ledger: Ledger) -> Plan:
        asked.append(target)
        rows = [Row("order.created", 0, 15, 0, 0, 20), Row("order.created", 1, None, 3, 0, 20)]
        return Plan(group, True, 2, rows, Sample(15, 10, 4, 1))

    monkeypatch.setattr(plans, "plan", plan)
    body = {"to": "time", "at": "2026-11-27T12:00:00Z", "topics": ["order.created"]}
    found = (await post(api, f"{GROUP}/offsets/plan", body)).json()["data"]
    assert found == {
        "group": GROUP,
        "epoch": 2,
        "rows": [
            {"topic": "order.created", "partition": 0, "before": 15, "after": 0, "first": 0, "end": 20,
             "lagBefore": 5, "lagAfter": 20},
            {"topic": "order.created", "partition": 1, "before": None, "after": 3, "first": 0, "end": 20,
             "lagBefore": 20, "lagAfter": 17},
        ],
        "lagBefore": 25, "lagAfter": 37, "again": 15, "passed": 3,
        "skipped": {"total": 15, "lookedAt": 10, "handled": 4, "deadLetters": 1},
        "canHandleAgain": True, "note": "",
    }  # fmt: skip
    assert asked == [plans.Target(To.TIME, AT, None, ("order.created",))]
    for wrong in ({"to": "yesterday"}, {"to": "time", "at": "noon"}, {}, {"to": "latest", "offset": 3}):
        problem(await post(api, f"{GROUP}/offsets/plan", wrong), 422)
    place = {"topic": "order.created", "partition": 0, "offset": 1}
    problem(await post(api, f"{GROUP}/offsets/plan", {"to": "offsets", "offsets": [place, place]}), 422)


async def test_a_plan_is_applied_as_it_was_answered(api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[resets.Reset] = []

    def apply(reset: resets.Reset, ledger: Ledger, at: datetime) -> int:
        asked.append(reset)
        if len(asked) > 1:
            raise NotPossibleError("1 of 1 offsets moved since the plan", possible=["plan again"])
        return 3

    monkeypatch.setattr(resets, "apply", apply)
    move = {"topic": "order.created", "partition": 0, "before": None, "after": 0}
    body = {"offsets": [move], "epoch": 2, "handleAgain": True, "reason": "bad rates"}
    found = (await post(api, f"{GROUP}/offsets/apply", body)).json()["data"]
    assert found == {"group": GROUP, "partitions": 1, "epoch": 3}
    (reset,) = asked
    assert reset.moves == [resets.Move("order.created", 0, None, 0)]
    assert (reset.epoch, reset.handle_again, reset.who, reset.why) == (2, True, "tester", "bad rates")

    assert problem(await post(api, f"{GROUP}/offsets/apply", body), 409)["possible"] == ["plan again"]
    for wrong in ({}, {**body, "offsets": []}, {**body, "offsets": [{**move, "after": -1}]}, {**body, "epoch": None}):
        problem(await post(api, f"{GROUP}/offsets/apply", wrong), 422)


CALLS: list[tuple[str, str, Any, str]] = [
    ("GET", "", None, "read"),
    ("GET", f"/{GROUP}", None, "read"),
    ("POST", f"/{GROUP}/pause", {}, "admin"),
    ("POST", f"/{GROUP}/resume", {}, "admin"),
    ("POST", f"/{GROUP}/offsets/plan", {"to": "latest"}, "admin"),
    ("POST", f"/{GROUP}/offsets/apply", {"offsets": [{}], "epoch": 0}, "admin"),
]


@pytest.mark.parametrize(("method", "path", "body", "scope"), CALLS)
async def test_each_address_asks_for_its_scope(
    anyone: httpx.AsyncClient, callers: dict[str, Caller], method: str, path: str, body: Any, scope: str
) -> None:
    refused = await anyone.request(method, f"/api/groups{path}", json=body)
    assert (refused.status_code, refused.headers["www-authenticate"][:6]) == (401, "Bearer")
    others = " ".join({"publish", "read", "replay", "admin"} - {scope})
    headers = limited(callers, scopes=others)
    named = problem(await anyone.request(method, f"/api/groups{path}", json=body, headers=headers), 403)
    assert named["scope"] == scope
    assert not AuditEntry.objects.exists()
