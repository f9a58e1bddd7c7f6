"""What requests and answers about topics look like."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from bus.browsing import MOST_ROWS
from eventconsole.api.bodies import Answer


class RecordsQuery(BaseModel):
    """Where to look. Without `start` and `cursor` from the newest records backwards."""

    model_config = {"extra": "forbid"}

    start: str = Field(
        "newest",
        max_length=60,
        description="`newest`, `oldest`, an offset such as `1200`, or a time such as `2026-11-27T03:15:00Z`.",
    )
    partition: int | None = Field(None, ge=0, lt=2**31, description="Only this partition.")
    q: str = Field("", max_length=200, description="Text in the key or value; upper and lower case are the same.")
    limit: int = Field(50, ge=1, le=MOST_ROWS)
    cursor: str | None = Field(None, max_length=20_000, description="`next` of the answer before.")


class RecordsAnswer(Answer):
    """Records, what it cost to find them, and the cursor of the next look (null at the end)."""

    data: list[dict[str, Any]]
    next: str | None
    effort: dict[str, Any]
