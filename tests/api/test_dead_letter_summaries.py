"""Small answers about dead letters over the API: counts, completion, an event's dead letters, trends and the audit."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from eventconsole.api.tokens import Caller
from tests.api.dead_letter_answers import problem
from tests.indexed import index, letter, record

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("may_ask_the_database", "five"),
]


@pytest.fixture
def only_payments(callers: dict[str, Caller]) -> dict[str, str]:
    callers["payments"] = Caller("payments", frozenset({"read"}), ("payment.*",))
    return {"Authorization": "Bearer payments"}


async def test_open_ones_are_counted_by_topic_and_group(api: httpx.AsyncClient, only_payments: dict[str, str]) -> None:
    answer = (await api.get("/api/dead-letters/counts")).json()["data"]
    assert answer == {
        "total": 5,
        "byTopic": {"order.created": 3, "payment.failed": 2},
        "byGroup": {"billing": 4, "shipping": 1},
    }
    mine = (await api.get("/api/dead-letters/counts", headers=only_payments)).json()["data"]
    assert mine == {"total": 2, "byTopic": {"payment.failed": 2}, "byGroup": {"billing": 1, "shipping": 1}}


async def test_filters_are_completed(api: httpx.AsyncClient, only_payments: dict[str, str]) -> None:
    async def found(headers: dict[str, str] | None = None, **query: str) -> list[str]:
        answer = await api.get("/api/dead-letters/values", params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    assert await found(of="topic", typed="FAIL") == ["payment.failed"]
    assert await found(of="errorType") == ["CardRefusedError", "TimeoutError"]
    assert await found(of="group", limit="1") == ["billing"]
    assert await found(only_payments, of="topic") == ["payment.failed"]


@pytest.mark.parametrize("query", [{}, {"of": "key"}, {"of": "topic", "limit": "0"}, {"of": "topic", "limit": "999"}])
async def test_what_can_not_be_completed_is_refused(api: httpx.AsyncClient, query: dict[str, str]) -> None:
    problem(await api.get("/api/dead-letters/values", params=query), 422)


async def test_the_dead_letters_of_an_event_are_listed(api: httpx.AsyncClient, only_payments: dict[str, str]) -> None:
    index([record(10, group="a/b"), record(11)])
    (found,) = (await api.get("/api/dead-letters/of-event/event-10")).json()["data"]
    assert (found["eventId"], found["group"], found["status"]) == ("event-10", "a/b", "open")
    assert (await api.get("/api/dead-letters/of-event/event-10", headers=only_payments)).json()["data"] == []
    assert (await api.get("/api/dead-letters/of-event/some/other%2Fid")).json()["data"] == []


async def test_error_groups_tell_how_often_they_failed_lately_when_asked(api: httpx.AsyncClient) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)
    index([record(20, error_type="NewError", first_failed_at_ms=now, last_attempt_at_ms=now)])

    newest, *others = (await api.get("/api/dead-letter-groups", params={"trend": "hour"})).json()["data"]
    assert newest["errorType"] == "NewError"
    assert (newest["isNew"], newest["trend"]["stepSeconds"], len(newest["trend"]["counts"])) == (True, 60, 60)
    assert sum(newest["trend"]["counts"]) == 1
    assert [each["isNew"] for each in others] == [False] * len(others)
    assert all(sum(each["trend"]["counts"]) == 0 for each in others)

    by_hour = (await api.get("/api/dead-letter-groups", params={"trend": "day", "limit": 1})).json()["data"]
    assert (by_hour[0]["trend"]["stepSeconds"], len(by_hour[0]["trend"]["counts"])) == (3600, 24)
    assert (await api.get("/api/dead-letter-groups")).json()["data"][0]["trend"] is None
    problem(await api.get("/api/dead-letter-groups", params={"trend": "week"}), 422)


async def test_the_audit_of_a_dead_letter_and_of_an_error_group_is_told(
    api: httpx.AsyncClient, only_payments: dict[str, str]
) -> None:
    mine, fingerprint = letter(0), letter(0).fingerprint
    body = {"filter": {"fingerprint": fingerprint}, "reason": "noise"}
    await api.post("/api/dead-letters/discard", json=body)
    await api.post(f"/api/dead-letter-groups/{fingerprint}/note", json={"note": "wait"})

    (entry,) = (await api.get(f"/api/dead-letters/{mine.pk}/audit")).json()["data"]
    assert (entry["who"], entry["what"], entry["why"]) == ("tester", "dead-letters.discard", "noise")
    of_group = (await api.get(f"/api/dead-letter-groups/{fingerprint}/audit")).json()["data"]
    assert [each["what"] for each in of_group] == ["error-group.note", "dead-letters.discard"]

    problem(await api.get(f"/api/dead-letters/{mine.pk}/audit", headers=only_payments), 404)
    problem(await api.get("/api/dead-letters/999999/audit"), 404)
    problem(await api.get("/api/dead-letter-groups/unknown/audit"), 404)


@pytest.mark.parametrize(
    "path",
    [
        "/api/dead-letters/counts",
        "/api/dead-letters/values?of=topic",
        "/api/dead-letters/of-event/x",
        "/api/dead-letters/1/audit",
        "/api/dead-letter-groups/x/audit",
    ],
)
async def test_they_need_a_login_and_the_scope_to_read(
    anyone: httpx.AsyncClient, callers: dict[str, Caller], path: str
) -> None:
    problem(await anyone.get(path), 401)
    callers["less"] = Caller("less", frozenset({"publish", "replay"}))
    assert problem(await anyone.get(path, headers={"Authorization": "Bearer less"}), 403)["scope"] == "read"
