"""Replays over the API: one with its answers, plans, what can be done in which state, and who may."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from bus import catalog
from bus.models import AuditEntry, DeadLetter, LetterStatus, Replay, ReplayEdit, ReplayItem
from eventconsole.api import replay_desk
from eventconsole.api.tokens import Caller
from tests.indexed import index, letter, record

pytestmark = pytest.mark.django_db(transaction=True)


class FakeEngine:
    """Marks items as sent, or fails as told."""

    def __init__(self) -> None:
        self.answers = True
        self.refusal = ""
        self.asked: list[int] = []

    def send_now(self, replay_id: int, seconds: float) -> bool:
        self.asked.append(replay_id)
        items = ReplayItem.objects.filter(replay=replay_id)
        if self.refusal:
            items.update(state=ReplayItem.State.SKIPPED, note=self.refusal)
        elif self.answers:
            items.update(state=ReplayItem.State.SENT, partition=0, offset=1)
            Replay.objects.filter(pk=replay_id).update(sent=1)
        return self.answers


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    fake = FakeEngine()
    monkeypatch.setattr(replay_desk, "_shared_engine", lambda: fake)
    return fake


@pytest.fixture
def four() -> None:
    """Four dead letters: two orders of billing, a payment of shipping, and one that was replayed three times."""
    index([record(0, key="ann"), record(1, key="bob"), record(2, "payment.failed", group="shipping")])
    index([record(3, generation=3)])


def problem(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return response.json()


async def post(api: httpx.AsyncClient, path: str, body: Any = None) -> Any:
    response = await api.post(f"/api/{path}", json={} if body is None else body)
    assert response.status_code in (200, 201), response.text
    return response.json()["data"]


@pytest.mark.usefixtures("four")
async def test_one_replay_answers_once_it_is_acknowledged(api: httpx.AsyncClient, engine: FakeEngine) -> None:
    found = letter(0)
    data = await post(api, f"dead-letters/{found.pk}/replay", {"reason": "the card works again"})
    assert engine.asked == [data["id"]]
    assert (data["state"], data["kind"], data["total"], data["sent"], data["pending"]) == ("running", "one", 1, 1, 1)
    assert data["createdBy"] == "tester"
    assert letter(0).status == LetterStatus.REPLAYING
    entry = AuditEntry.objects.get(what="dead-letter.replay")
    assert (entry.who, entry.target, entry.why) == ("tester", str(found.pk), "the card works again")


@pytest.mark.usefixtures("four")
async def test_a_second_click_is_told_who_was_first_and_when(
    api: httpx.AsyncClient, callers: dict[str, Caller], engine: FakeEngine
) -> None:
    callers["grace"] = Caller("grace", frozenset({"replay"}))
    path = f"/api/dead-letters/{letter(0).pk}/replay"
    answers = await asyncio.gather(
        api.post(path, json={}), api.post(path, json={}, headers={"Authorization": "Bearer grace"})
    )
    assert sorted(each.status_code for each in answers) == [200, 409]
    refused = next(each.json() for each in answers if each.status_code == 409)
    assert refused["who"] in ("tester", "grace")
    assert refused["when"].endswith("Z")
    assert refused["who"] in refused["detail"]
    assert Replay.objects.count() == 1


@pytest.mark.usefixtures("four")
async def test_a_delayed_replay_waits_and_can_be_undone(api: httpx.AsyncClient, engine: FakeEngine) -> None:
    pk = letter(0).pk
    data = await post(api, f"dead-letters/{pk}/replay", {"delay": 10})
    assert data["sendAt"] > data["createdAt"]
    assert engine.asked == []
    undone = await post(api, f"dead-letters/{pk}/undo")
    assert (undone["state"], undone["possible"]) == ("cancelled", [])
    assert letter(0).status == LetterStatus.OPEN
    problem(await api.post(f"/api/dead-letters/{pk}/undo"), 409)


@pytest.mark.usefixtures("four")
async def test_what_was_sent_cannot_be_undone(api: httpx.AsyncClient) -> None:
    pk = letter(0).pk
    await post(api, f"dead-letters/{pk}/replay")
    problem(await api.post(f"/api/dead-letters/{pk}/undo"), 409)
    assert Replay.objects.get().state == "running"


@pytest.mark.usefixtures("four")
async def test_without_an_acknowledgement_it_is_stored_and_said_so(api: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.answers = False
    refused = problem(await api.post(f"/api/dead-letters/{letter(0).pk}/replay", json={}), 503)
    assert refused["replay"] == Replay.objects.get().pk
    assert "monitor" in refused["detail"]


@pytest.mark.usefixtures("four")
async def test_what_kafka_refuses_is_said(api: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.refusal = "Kafka refused the event: no such topic; run manage.py create_topics"
    assert (
        "create_topics" in problem(await api.post(f"/api/dead-letters/{letter(0).pk}/replay", json={}), 503)["detail"]
    )


@pytest.mark.usefixtures("four")
async def test_above_generation_three_force_is_asked_for(api: httpx.AsyncClient) -> None:
    pk = letter(3).pk
    assert problem(await api.post(f"/api/dead-letters/{pk}/replay", json={}), 422)["field"] == "force"
    assert (await post(api, f"dead-letters/{pk}/replay", {"force": True}))["sent"] == 1


async def test_without_a_group_a_confirmation_is_asked_for(api: httpx.AsyncClient) -> None:
    index([record(0)])
    DeadLetter.objects.update(group="")
    pk = DeadLetter.objects.get().pk
    refused = problem(await api.post(f"/api/dead-letters/{pk}/replay", json={}), 422)
    assert refused["field"] == "allGroups"
    assert "all groups of this topic will see it" in refused["detail"]
    assert (await post(api, f"dead-letters/{pk}/replay", {"allGroups": True}))["sent"] == 1


async def test_an_edit_is_stored_with_its_difference_beside_the_original(api: httpx.AsyncClient) -> None:
    index([record(0, "test.any")])
    pk = DeadLetter.objects.get().pk
    refused = problem(
        await api.post(f"/api/dead-letters/{pk}/replay", json={"edit": {"headers": {"event-id": "x"}}}), 422
    )
    assert refused["field"] == "edit.headers.event-id"
    data = await post(api, f"dead-letters/{pk}/replay", {"edit": {"data": {"n": 1}, "key": "ann"}})
    assert data["kind"] == "edit"
    edit = ReplayEdit.objects.get()
    assert edit.event_id != "event-0"
    assert [each["path"] for each in edit.diff] == ["data.n", "key"]


async def test_an_edit_that_does_not_fit_the_schema_is_refused(api: httpx.AsyncClient) -> None:
    index([record(0, "inventory.updated")])
    pk = DeadLetter.objects.get().pk
    body = {"edit": {"data": {"productId": 4, "quantity": "many"}}}
    assert problem(await api.post(f"/api/dead-letters/{pk}/replay", json=body), 422)["field"].startswith("edit.data")
    assert Replay.objects.count() == 0


@pytest.mark.usefixtures("four")
async def test_a_plan_fixes_the_set_and_says_what_to_expect(api: httpx.AsyncClient) -> None:
    data = await post(api, "replays", {"filter": {"topic": "order.created"}, "reason": "fixed"})
    assert (data["state"], data["total"], data["possible"]) == ("planned", 2, ["run", "cancel"])
    assert data["places"] == [{"topic": "order.created", "group": "billing", "count": 2}]
    assert [each["eventId"] for each in data["sample"]] == ["event-0", "event-1"]
    kinds = {each["kind"]: each for each in data["warnings"]}
    assert kinds["left-out"]["count"] == 1
    assert kinds["unknown-group"]["detail"] == "billing"
    index([record(9)])
    run = await post(api, f"replays/{data['id']}/run", {"rate": 500, "canary": 1, "stopAtPercent": 10})
    assert (run["state"], run["total"], run["rate"], run["canary"]) == ("running", 2, 500, 1)
    assert letter(0).status == LetterStatus.OPEN


async def test_a_plan_warns_of_what_the_schema_of_today_refuses(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Renamed(BaseModel):
        number: int

    monkeypatch.setattr(catalog, "_topics", catalog.topics())
    catalog.add_topic("test.renamed", "A topic of a test", Renamed)
    index([record(0, "test.renamed"), record(1, "test.renamed"), record(2)])
    data = await post(api, "replays", {"filter": {}})
    refused = next(each for each in data["warnings"] if each["kind"] == "schema")
    assert (refused["count"], refused["detail"]) == (2, ["test.renamed"])
    assert "data.number" in refused["text"]


@pytest.mark.usefixtures("four")
async def test_a_plan_with_force_warns_of_those_replayed_before(api: httpx.AsyncClient) -> None:
    data = await post(api, "replays", {"ids": [letter(3).pk, letter(0).pk], "force": True})
    again = next(each for each in data["warnings"] if each["kind"] == "already-replayed")
    assert (data["total"], again["count"], again["detail"]) == (2, 1, 3)


@pytest.mark.usefixtures("four")
async def test_every_state_says_what_is_possible(api: httpx.AsyncClient) -> None:
    made = await post(api, "replays", {"filter": {}})
    path = f"replays/{made['id']}"
    refused = problem(await api.post(f"/api/{path}/pause"), 409)
    assert (refused["who"], refused["possible"]) == ("tester", ["run", "cancel"])
    await post(api, f"{path}/run")
    problem(await api.post(f"/api/{path}/run", json={}), 409)
    assert (await post(api, f"{path}/pause"))["possible"] == ["resume", "cancel"]
    assert (await post(api, f"{path}/resume"))["state"] == "running"
    cancelled = await post(api, f"{path}/cancel")
    assert (cancelled["state"], cancelled["skipped"], cancelled["possible"]) == ("cancelled", 3, [])
    assert "cancelled, since" in problem(await api.post(f"/api/{path}/resume"), 409)["detail"]
    audit = list(AuditEntry.objects.order_by("pk").values_list("what", "outcome"))
    verbs = ("plan", "run", "pause", "resume", "cancel")
    assert audit == [(f"replay.{verb}", "done") for verb in verbs]


@pytest.mark.usefixtures("four")
async def test_the_rate_changes_while_it_runs(api: httpx.AsyncClient) -> None:
    made = await post(api, "replays", {"filter": {}})
    path = f"replays/{made['id']}"
    assert "planned" in problem(await api.post(f"/api/{path}/rate", json={"rate": 5}), 409)["detail"]
    await post(api, f"{path}/run", {"rate": 100})
    assert (await post(api, f"{path}/rate", {"rate": 5}))["rate"] == 5
    await post(api, f"{path}/pause")
    changed = await post(api, f"{path}/rate", {"rate": None})
    assert (changed["rate"], changed["state"]) == (None, "paused")
    for wrong in ({"rate": 0}, {"rate": -1}, {"rate": "fast"}, {}):
        assert problem(await api.post(f"/api/{path}/rate", json=wrong), 422)["field"] == "rate"
    await post(api, f"{path}/cancel")
    assert "cancelled" in problem(await api.post(f"/api/{path}/rate", json={"rate": 5}), 409)["detail"]
    entries = AuditEntry.objects.filter(what="replay.rate").order_by("pk")
    assert [(each.detail, each.outcome) for each in entries] == [({"rate": 5.0}, "done"), ({"rate": None}, "done")]


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("replays", {}, "filter"),
        ("replays", {"filter": {}, "ids": [1]}, "filter"),
        ("replays", {"filter": {"colour": "red"}}, "filter.colour"),
        ("replays", {"filter": {"topic": "nothing.here"}}, "filter"),
        ("replays", {"filter": {"since": "yesterday"}}, "filter.since"),
        ("replays", {"ids": []}, "ids"),
        ("replays/1/run", {"rate": "fast"}, "rate"),
        ("dead-letters/1/replay", {"edit": {"value": 1}}, "edit.value"),
    ],
)
async def test_bad_input_is_named(api: httpx.AsyncClient, path: str, body: Any, field: str) -> None:
    assert problem(await api.post(f"/api/{path}", json=body), 422)["field"] == field


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rate": 0}, "rate"),
        ({"rate": -1}, "rate"),
        ({"canary": 0}, "canary"),
        ({"canary": 1, "stopAtPercent": 101}, "stopAtPercent"),
        ({"stopAtPercent": 5}, "stopAtPercent"),
    ],
)
async def test_a_run_that_cannot_be_is_refused(api: httpx.AsyncClient, body: Any, field: str) -> None:
    made = await post(api, "replays", {"filter": {}})
    assert problem(await api.post(f"/api/replays/{made['id']}/run", json=body), 422)["field"] == field
    assert Replay.objects.get().state == "planned"


async def test_unknown_ids_are_a_404(api: httpx.AsyncClient) -> None:
    for path in ("dead-letters/4711/replay", "dead-letters/4711/undo", "replays/4711/run", "replays/4711/pause"):
        problem(await api.post(f"/api/{path}", json={}), 404)
    problem(await api.post("/api/replays", json={"ids": [4711]}), 404)
    problem(await api.get("/api/replays/4711"), 404)


@pytest.mark.usefixtures("four")
async def test_replays_are_listed_page_by_page_with_their_items(api: httpx.AsyncClient) -> None:
    made = [await post(api, "replays", {"filter": {}}) for _ in range(3)]
    first = (await api.get("/api/replays", params={"limit": 2})).json()
    assert [each["id"] for each in first["data"]] == [made[2]["id"], made[1]["id"]]
    second = (await api.get("/api/replays", params={"limit": 2, "cursor": first["next"]})).json()
    assert ([each["id"] for each in second["data"]], second["next"]) == ([made[0]["id"]], None)
    page = (await api.get(f"/api/replays/{made[0]['id']}/items", params={"limit": 2})).json()
    assert ([each["sequence"] for each in page["data"]], page["next"]) == ([1, 2], "2")
    assert (await api.get("/api/replays", params={"state": "completed"})).json() == {"data": [], "next": None}
    problem(await api.get("/api/replays", params={"limit": 0}), 422)


@pytest.mark.usefixtures("four")
async def test_tokens_replay_only_with_the_scope_and_what_is_theirs(
    api: httpx.AsyncClient, callers: dict[str, Caller]
) -> None:
    callers["reader"] = Caller("reader", frozenset({"read"}))
    callers["payments"] = Caller("payments", frozenset({"read", "replay"}), ("payment.*",))
    order, everything = letter(0).pk, await post(api, "replays", {"filter": {}})
    api.headers["Authorization"] = "Bearer reader"
    problem(await api.post(f"/api/dead-letters/{order}/replay", json={}), 403)
    problem(await api.post("/api/replays", json={"filter": {}}), 403)
    api.headers["Authorization"] = "Bearer payments"
    problem(await api.post(f"/api/dead-letters/{order}/replay", json={}), 404)
    problem(await api.post("/api/replays", json={"ids": [order]}), 404)
    problem(await api.post(f"/api/replays/{everything['id']}/run", json={}), 404)
    assert (await api.get("/api/replays")).json()["data"] == []
    mine = await post(api, "replays", {"filter": {}})
    assert [place["topic"] for place in mine["places"]] == ["payment.failed"]
