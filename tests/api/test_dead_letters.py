"""Dead letters over the API: lists, filters, pages, payloads, and what people change."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from bus.deadletterindex.counts import recount
from bus.models import AuditEntry, DeadLetter, ErrorGroup, ErrorGroupPlace, LetterStatus
from eventconsole.api.tokens import Caller
from tests.indexed import MadeUpRecord, index, letter, record

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def may_ask_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests ask the database between calls; nothing else runs on their event loop meanwhile."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


@pytest.fixture
def five() -> None:
    """Five dead letters of two topics and two groups, with two kinds of error."""
    index(
        [
            record(0, key="ann"),
            record(1, key="bob"),
            record(2, "payment.failed", group="shipping"),
            record(3, "payment.failed", error_type="TimeoutError", error_message="no answer from 10.0.0.1:80"),
            record(4, error_type="TimeoutError", error_message="no answer from 10.0.0.2:80", reason="permanent"),
        ]
    )


async def listed(api: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await api.get("/api/dead-letters", params=query)
    assert answer.status_code == 200, answer.text
    return [each["eventId"] for each in answer.json()["data"]]


def problem(answer: httpx.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()


@pytest.mark.usefixtures("five")
async def test_a_dead_letter_in_a_list_says_what_failed_where_and_why(api: httpx.AsyncClient) -> None:
    answer = (await api.get("/api/dead-letters", params={"eventId": "event-1"})).json()

    assert answer["next"] is None
    (found,) = answer["data"]
    assert isinstance(found.pop("id"), int)
    assert len(found.pop("fingerprint")) == 32
    assert found.pop("size") > 100
    assert found == {
        "status": "open",
        "topic": "order.created",
        "group": "billing",
        "eventId": "event-1",
        "eventType": "order.created",
        "key": "bob",
        "correlationId": "correlation-1",
        "reason": "exhausted",
        "attempts": 4,
        "error": {"type": "CardRefusedError", "message": "card 4711 was refused"},
        "firstFailedAt": "2026-09-21T14:13:20.000Z",
        "lastFailedAt": "2026-09-21T14:13:20.001Z",
        "generation": 0,
        "replayedTimes": 0,
        "failedAgainTimes": 0,
    }


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [4, 3, 2, 1, 0]),
        ({"topic": "payment.failed"}, [3, 2]),
        ({"group": "shipping"}, [2]),
        ({"group": ""}, []),
        ({"eventId": "event-3"}, [3]),
        ({"eventType": "payment.failed"}, [3, 2]),
        ({"errorType": "TimeoutError"}, [4, 3]),
        ({"key": "ann"}, [0]),
        ({"correlationId": "correlation-2"}, [2]),
        ({"reason": "permanent"}, [4]),
        ({"status": "open"}, [4, 3, 2, 1, 0]),
        ({"status": "resolved"}, []),
        ({"since": "2026-09-21T14:13:20.002Z", "until": "2026-09-21T16:13:20.004+02:00"}, [3, 2]),
        ({"q": "NO ANSWER"}, [4, 3]),
        ({"q": "10.0.0.2"}, [4]),
        ({"q": "event-1"}, [1]),
        ({"q": "%"}, []),
        ({"topic": "order.created", "errorType": "TimeoutError"}, [4]),
    ],
)
async def test_filters_leave_what_fits_all_of_them(
    api: httpx.AsyncClient, query: dict[str, str], numbers: list[int]
) -> None:
    assert await listed(api, **query) == [f"event-{number}" for number in numbers]


@pytest.mark.usefixtures("five")
async def test_pages_make_up_the_whole_list_without_gaps_though_more_fail_meanwhile(api: httpx.AsyncClient) -> None:
    found, cursor = [], None
    while True:
        query = {"limit": 2} if cursor is None else {"limit": 2, "cursor": cursor}
        page = (await api.get("/api/dead-letters", params=query)).json()
        found += [each["eventId"] for each in page["data"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == [f"event-{number}" for number in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"cursor": "nonsense"}, None),
        ({"cursor": "WzEsImEiXQ"}, None),
        ({"since": "yesterday"}, "since"),
        ({"status": "lost"}, "status"),
        ({"reason": "mood"}, "reason"),
        ({"page": "2"}, "page"),
        ({"topic": "a\0b"}, "topic"),
        ({"since": "2026-09-21T14:00:00Z", "until": "2026-09-21T13:00:00Z"}, None),
    ],
)
async def test_bad_queries_are_refused_with_what_is_allowed(
    api: httpx.AsyncClient, query: dict[str, str], field: str | None
) -> None:
    told = problem(await api.get("/api/dead-letters", params=query), 422)

    if field is not None:
        assert told["field"].split(".")[-1] == field
    assert len(told["detail"]) > 20


@pytest.mark.usefixtures("five")
async def test_a_dead_letter_alone_has_its_stack_trace_and_places(api: httpx.AsyncClient) -> None:
    found = (await api.get(f"/api/dead-letters/{letter(0).pk}")).json()["data"]

    assert "in charge" in found["error"]["stackTrace"]
    assert found["positions"] == [{"topic": "order.created.dlq", "partition": 0, "offset": 0}]
    assert (found["failedAgainAs"], found["discarded"], found["kept"]) == (None, None, False)


async def test_what_failed_again_shows_as_open_and_points_to_what_stands_for_it(api: httpx.AsyncClient) -> None:
    index([record(0), record(0, generation=1)])
    newer = letter(0)
    assert newer.previous is not None

    older = (await api.get(f"/api/dead-letters/{newer.previous.pk}")).json()["data"]

    assert (older["status"], older["failedAgainAs"]) == ("open", newer.pk)
    page = (await api.get("/api/dead-letters")).json()["data"]
    assert [(each["id"], each["generation"], each["failedAgainTimes"]) for each in page] == [(newer.pk, 1, 1)]


@pytest.mark.usefixtures("five")
async def test_the_payload_is_the_event_as_it_was_published(api: httpx.AsyncClient) -> None:
    path = f"/api/dead-letters/{letter(1).pk}/payload"

    found = (await api.get(path)).json()["data"]
    raw = await api.get(path, params={"raw": "true"})
    accepted = await api.get(path, headers={"Accept": "application/octet-stream"})

    assert found["value"]["encoding"] == "utf-8"
    assert found["value"]["text"].endswith('"data":{"n":1}}')
    assert found["key"] == {"encoding": "utf-8", "text": "bob"}
    assert {each["name"] for each in found["headers"]} >= {"event-id", "event-type", "correlation-id"}
    assert found["origin"] == {"topic": "order.created", "partition": 0, "offset": 1}
    assert raw.content == accepted.content == found["value"]["text"].encode()
    assert raw.headers["content-type"] == "application/octet-stream"
    assert raw.headers["content-disposition"].startswith("attachment")


async def test_bytes_that_are_no_text_come_in_base64_and_raw(api: httpx.AsyncClient) -> None:
    index([MadeUpRecord("order.created.dlq", 0, b"\xff\x00", None, [("odd", b"\xfe"), ("none", None)])])
    path = f"/api/dead-letters/{DeadLetter.objects.get().pk}/payload"

    found = (await api.get(path)).json()["data"]

    assert found["value"] == {"encoding": "base64", "text": "/wA="}
    assert found["headers"] == [
        {"name": "odd", "encoding": "base64", "text": "/g=="},
        {"name": "none", "text": None},
    ]
    assert found["problems"]
    assert (await api.get(path, params={"raw": "1"})).content == b"\xff\x00"


async def test_a_record_without_a_value_has_no_raw_content(api: httpx.AsyncClient) -> None:
    index([MadeUpRecord("order.created.dlq", 0, None, None, [])])
    answer = await api.get(f"/api/dead-letters/{DeadLetter.objects.get().pk}/payload?raw=1")
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("path", ["/1", "/1/payload", f"/{2**63 - 1}"])
async def test_unknown_dead_letters_are_not_found(api: httpx.AsyncClient, path: str) -> None:
    problem(await api.get(f"/api/dead-letters{path}"), 404)


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
