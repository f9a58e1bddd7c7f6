"""What tests ask the API about dead letters."""

from __future__ import annotations

from typing import Any

import httpx


async def listed(api: httpx.AsyncClient, **query: Any) -> list[str]:
    """The event ids of the first page of dead letters that fit."""
    answer = await api.get("/api/dead-letters", params=query)
    assert answer.status_code == 200, answer.text
    return [each["eventId"] for each in answer.json()["data"]]


def problem(answer: httpx.Response, status: int) -> Any:
    """The problem document, which must have this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()
