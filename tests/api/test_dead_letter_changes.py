"""What people do to dead letters and error groups over the API, and who may."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from bus.deadletterindex.counts import recount
from bus.models import AuditEntry, DeadLetter, ErrorGroup, ErrorGroupPlace, LetterStatus
from eventconsole.api.tokens import Caller
from tests.api.dead_letter_answers import listed, problem
from tests.indexed import index, letter, record

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("may_ask_the_database")]


# -- discard and restore ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("five")
async def test_discarding_takes_a_reason_and_can_be_taken_back(api: httpx.AsyncClient) -> None:
    ids = [letter(0).pk, letter(1).pk]

    answer = await api.post("/api/dead-letters/discard", json={"ids": ids, "reason": "test orders"})

    assert answer.json() == {"success": True, "data": {"changed": 2, "skipped": [], "complete": True}}
    assert await listed(api, status="discarded") == ["event-1", "event-0"]
    discarded = (await api.get(f"/api/dead-letters/{ids[0]}")).json()["data"]["discarded"]
    assert (discarded["by"], discarded["reason"], discarded["isPurged"]) == ("tester", "test orders", False)
    audit = AuditEntry.objects.get()
    assert (audit.who, audit.what, audit.why) == ("tester", "dead-letters.discard", "test orders")
    assert (audit.outcome, audit.changed, audit.detail["changed"]) == ("done", 2, ids)
    groups = (await api.get("/api/dead-letter-groups")).json()["data"]
    assert {(group["errorType"], group["open"], group["discarded"]) for group in groups} == {
        ("CardRefusedError", 1, 2),
        ("TimeoutError", 2, 0),
    }

    await api.post("/api/dead-letters/restore", json={"ids": ids[:1]})

    assert await listed(api, status="discarded") == ["event-1"]
    assert letter(0).discarded_at is None


@pytest.mark.usefixtures("five")
async def test_everything_that_fits_a_filter_is_discarded_and_nothing_else(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        "/api/dead-letters/discard", json={"filter": {"errorType": "TimeoutError"}, "reason": "the network was down"}
    )

    assert answer.json()["data"]["changed"] == 2
    assert await listed(api, status="open") == ["event-2", "event-1", "event-0"]
    assert AuditEntry.objects.get().detail["filter"]["error_type"] == "TimeoutError"


@pytest.mark.usefixtures("five")
async def test_of_a_selection_what_can_be_changed_is_and_the_rest_is_named(api: httpx.AsyncClient) -> None:
    DeadLetter.objects.filter(pk=letter(0).pk).update(status=LetterStatus.RESOLVED)

    answer = await api.post(
        "/api/dead-letters/discard", json={"ids": [letter(0).pk, letter(1).pk], "reason": "test orders"}
    )

    assert answer.json()["data"] == {
        "changed": 1,
        "skipped": [{"id": letter(0).pk, "status": "resolved"}],
        "complete": True,
    }


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize(("verb", "status"), [("discard", "replaying"), ("restore", "open")])
async def test_a_change_that_the_status_does_not_allow_is_a_conflict_that_says_which_does(
    api: httpx.AsyncClient, verb: str, status: str
) -> None:
    DeadLetter.objects.filter(pk=letter(0).pk).update(status=status)

    told = problem(await api.post(f"/api/dead-letters/{verb}", json={"ids": [letter(0).pk], "reason": "why"}), 409)

    assert f"is {status}" in told["detail"]
    assert ("open" if verb == "discard" else "discarded") in told["detail"]
    assert not AuditEntry.objects.exists()


@pytest.mark.usefixtures("five")
async def test_one_unknown_id_changes_nothing(api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/dead-letters/discard", json={"ids": [letter(0).pk, 999_999], "reason": "why"})

    assert problem(answer, 404)["field"] == "ids[1]"
    assert letter(0).status == LetterStatus.OPEN


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize(
    "body",
    [
        {"ids": [1]},
        {"ids": [1], "reason": ""},
        {"reason": "why"},
        {"ids": [], "reason": "why"},
        {"ids": ["1"], "reason": "why"},
        {"ids": [1], "filter": {"topic": "a"}, "reason": "why"},
        {"filter": {}, "reason": "why"},
        {"filter": {"colour": "red"}, "reason": "why"},
        {"filter": {"status": "resolved"}, "reason": "why"},
        {"filter": {"since": 5}, "reason": "why"},
        {"filter": {"q": ""}, "reason": "why"},
    ],
)
async def test_a_wrong_discard_is_refused_and_changes_nothing(api: httpx.AsyncClient, body: dict[str, Any]) -> None:
    problem(await api.post("/api/dead-letters/discard", json=body), 422)
    assert not DeadLetter.objects.exclude(status=LetterStatus.OPEN).exists()


# -- error groups -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("five")
async def test_equal_errors_make_a_group_that_tells_the_story(api: httpx.AsyncClient) -> None:
    groups = (await api.get("/api/dead-letter-groups")).json()

    assert groups["next"] is None
    timeouts, refusals = groups["data"]
    assert timeouts["message"] == "no answer from <address>"
    assert (timeouts["count"], timeouts["open"], refusals["count"]) == (2, 2, 3)
    assert refusals["frame"] == "shop/handlers/billing.py:charge"
    assert (refusals["topics"], refusals["groups"]) == (["order.created", "payment.failed"], ["billing", "shipping"])
    assert refusals["lastSeenAt"] == "2026-09-21T14:13:20.002Z"
    assert await listed(api, fingerprint=timeouts["fingerprint"]) == ["event-4", "event-3"]
    alone = (await api.get(f"/api/dead-letter-groups/{timeouts['fingerprint']}")).json()["data"]
    assert alone == timeouts


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize(
    ("query", "types"),
    [
        ({"topic": "payment.failed"}, ["TimeoutError", "CardRefusedError"]),
        ({"group": "shipping"}, ["CardRefusedError"]),
        ({"errorType": "TimeoutError"}, ["TimeoutError"]),
        ({"status": "resolved"}, []),
        ({"q": "refused"}, ["CardRefusedError"]),
        ({"newSince": "2026-09-21T14:13:20.001Z"}, []),
        ({"since": "2026-09-21T14:13:20.003Z"}, ["TimeoutError"]),
    ],
)
async def test_groups_are_filtered(api: httpx.AsyncClient, query: dict[str, str], types: list[str]) -> None:
    found = (await api.get("/api/dead-letter-groups", params=query)).json()["data"]
    assert [group["errorType"] for group in found] == types


@pytest.mark.usefixtures("five")
async def test_groups_come_in_pages(api: httpx.AsyncClient) -> None:
    first = (await api.get("/api/dead-letter-groups", params={"limit": 1})).json()
    second = (await api.get("/api/dead-letter-groups", params={"limit": 1, "cursor": first["next"]})).json()

    assert [group["errorType"] for group in first["data"] + second["data"]] == ["TimeoutError", "CardRefusedError"]
    assert second["next"] is None


@pytest.mark.usefixtures("five")
async def test_a_group_has_a_note_and_an_owner_which_are_audited(api: httpx.AsyncClient) -> None:
    group = ErrorGroup.objects.get(error_type="TimeoutError")
    path = f"/api/dead-letter-groups/{group.pk}/note"

    await api.post(path, json={"note": "look at the gateway", "owner": "ann"})
    found = (await api.post(path, json={"note": "it was the gateway"})).json()["data"]

    assert (found["note"], found["owner"], found["notedBy"]) == ("it was the gateway", "ann", "tester")
    assert AuditEntry.objects.filter(what="error-group.note", target=group.pk).count() == 2
    problem(await api.post(path, json={}), 422)
    problem(await api.post("/api/dead-letter-groups/none/note", json={"note": "x"}), 404)


async def test_a_group_knows_what_came_back_after_a_replay(api: httpx.AsyncClient) -> None:
    index([record(0), record(1)])
    index([record(0, generation=1)])

    (group,) = (await api.get("/api/dead-letter-groups")).json()["data"]

    assert (group["count"], group["cameBack"], group["replayed"]) == (2, 1, 1)
    assert group["replayedShare"] == pytest.approx(1 / 3, abs=0.001)
    assert group["cameBackAt"] is not None


# -- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("five")
async def test_reading_takes_the_scope_read_and_changing_the_scope_replay(
    anyone: httpx.AsyncClient, callers: dict[str, Caller]
) -> None:
    callers["reader"] = Caller("reader", frozenset({"read"}))
    callers["replayer"] = Caller("replayer", frozenset({"replay"}))
    pk = letter(0).pk
    group = ErrorGroup.objects.first()
    assert group is not None
    reads = ["", f"/{pk}", f"/{pk}/payload"]
    changes = [("discard", {"ids": [pk], "reason": "why"}), ("restore", {"ids": [pk]}), (f"{pk}/keep", {})]

    for path in [f"dead-letters{each}" for each in reads] + ["dead-letter-groups", "dead-letter-index"]:
        problem(await anyone.get(f"/api/{path}"), 401)
        problem(await anyone.get(f"/api/{path}", headers={"Authorization": "Bearer replayer"}), 403)
        assert (await anyone.get(f"/api/{path}", headers={"Authorization": "Bearer reader"})).status_code == 200
    for path, body in [*((f"dead-letters/{verb}", body) for verb, body in changes), *_note(group)]:
        problem(await anyone.post(f"/api/{path}", json=body), 401)
        problem(await anyone.post(f"/api/{path}", json=body, headers={"Authorization": "Bearer reader"}), 403)
        answer = await anyone.post(f"/api/{path}", json=body, headers={"Authorization": "Bearer replayer"})
        assert answer.status_code == 200, answer.text


def _note(group: ErrorGroup) -> list[tuple[str, dict[str, Any]]]:
    return [(f"dead-letter-groups/{group.pk}/note", {"note": "x"})]


@pytest.mark.usefixtures("five")
async def test_a_token_for_some_topics_sees_and_changes_only_theirs(
    anyone: httpx.AsyncClient, callers: dict[str, Caller]
) -> None:
    callers["payments"] = Caller("payments", frozenset({"read", "replay"}), ("payment.*",))
    anyone.headers["Authorization"] = "Bearer payments"

    assert await listed(anyone) == ["event-3", "event-2"]
    problem(await anyone.get(f"/api/dead-letters/{letter(0).pk}"), 404)
    problem(await anyone.get(f"/api/dead-letters/{letter(0).pk}/payload"), 404)
    problem(await anyone.post("/api/dead-letters/discard", json={"ids": [letter(0).pk], "reason": "why"}), 404)
    answer = await anyone.post("/api/dead-letters/discard", json={"filter": {"status": "open"}, "reason": "why"})
    assert answer.json()["data"]["changed"] == 2
    groups = (await anyone.get("/api/dead-letter-groups")).json()["data"]
    assert {(group["count"], *group["topics"]) for group in groups} == {(1, "payment.failed")}
    assert letter(0).status == LetterStatus.OPEN


@pytest.mark.usefixtures("five")
async def test_counts_are_what_counting_anew_gives(api: httpx.AsyncClient) -> None:
    await api.post("/api/dead-letters/discard", json={"filter": {"topic": "order.created"}, "reason": "why"})
    await api.post("/api/dead-letters/restore", json={"ids": [letter(4).pk]})
    groups, places = (list(model.objects.order_by("pk").values()) for model in (ErrorGroup, ErrorGroupPlace))

    recount()

    assert list(ErrorGroup.objects.order_by("pk").values()) == groups
    left = [{**place, "id": None} for place in ErrorGroupPlace.objects.values()]
    assert sorted(left, key=str) == sorted(({**place, "id": None} for place in places), key=str)


async def test_the_index_says_how_far_behind_it_is(api: httpx.AsyncClient) -> None:
    found = (await api.get("/api/dead-letter-index")).json()["data"]
    assert found == {"behind": 0, "seenAt": None, "cluster": None, "partitions": 0}
