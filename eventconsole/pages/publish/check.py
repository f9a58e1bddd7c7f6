"""What would be sent, found out without sending: the problems of an event, or its size and headers."""

from __future__ import annotations

import time
from typing import Any

import pydantic

from bus import conf
from bus.envelope import new_event_id
from bus.errors import InvalidEventError
from bus.producer.drafts import Drafter, labels_of
from eventconsole.api.bodies import PublishRequest
from eventconsole.api.errors import invalid
from eventconsole.api.exact_json import JsonError, parse

#: Stands in the preview for an id that is made up when the event is sent.
MADE_UP = "made up when it is sent"


def check(body: bytes, published_by: str) -> dict[str, Any]:
    """`errors` as the API gives them (field and problem), else `size` in bytes and `headers` as pairs."""
    try:
        event = PublishRequest.model_validate(parse(body))
        return _draft(event, published_by)
    except JsonError as error:
        return _refused(error.field or "data", error.problem)
    except pydantic.ValidationError as error:
        problem = invalid(error.errors(include_url=False))
        return {"errors": [{"field": name, "problem": words} for name, words in problem.errors]}
    except InvalidEventError as error:
        return _refused(error.field, error.problem)


def _draft(event: PublishRequest, published_by: str) -> dict[str, Any]:
    drafter = Drafter(
        event.topic,
        at_ms=int(time.time() * 1000),
        published_by=published_by,
        traceparent=None,
        max_event_bytes=conf.current().max_event_bytes,
    )
    given = event.model_dump(by_alias=False)
    draft = drafter.draft(0, event.data, event.key, event.event_id, new_event_id(), labels_of(given))
    headers = [
        (name, MADE_UP if name == "event-id" and event.event_id is None else (value or b"").decode(errors="replace"))
        for name, value in draft.headers
    ]
    return {"errors": [], "size": len(draft.value), "headers": headers}


def _refused(field: str, problem: str) -> dict[str, Any]:
    return {"errors": [{"field": field, "problem": problem}]}
