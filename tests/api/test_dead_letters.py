"""Dead letters over the API: lists, filters, pages and payloads."""

from __future__ import annotations

import httpx
import pytest

from bus.models import DeadLetter
from tests.api.dead_letter_answers import listed, problem
from tests.indexed import MadeUpRecord, index, letter, record

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("may_ask_the_database")]


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
