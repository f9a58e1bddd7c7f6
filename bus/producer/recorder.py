"""What a process that publishes tells the activity stream: what Kafka has acknowledged, and what was sent again.

All of it is for showing. It is told after the callers have their outcomes, and costs them nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from bus import activity
from bus.activity import ActivityLog, Transition
from bus.activity.entries import MAX_KEY
from bus.producer.dispatch import Dispatch, Published
from bus.producer.drafts import Draft

log = logging.getLogger("bus.producer")

_PUBLISHED = activity.Outcome.PUBLISHED.value
_DUPLICATE = activity.Outcome.DUPLICATE.value
# Metadata holds texts only, in which a quotation mark has a backslash before it: this is where the data begins.
_BEFORE_METADATA, _BEFORE_DATA = b'{"metadata":', b',"data":'


class Recorder:
    """Tells of one producer's events. `now` is the time since 1970 in seconds."""

    def __init__(self, log: ActivityLog, now: Callable[[], float]) -> None:
        self._log = log
        self._now = now

    def published(self, acknowledged: Mapping[Dispatch, Sequence[Draft]]) -> None:
        """Kafka has acknowledged these events of each call."""
        at_ms = self._now_ms()
        for dispatch, drafts in acknowledged.items():
            room = self._log.count(dispatch.topic, "", _PUBLISHED, len(drafts))
            for draft in drafts[:room]:
                outcome = dispatch.outcomes[draft.position]
                if isinstance(outcome, Published):
                    self._keep(_PUBLISHED, dispatch, draft, outcome, dispatch.at_ms, at_ms - dispatch.at_ms)

    def duplicates(self, dispatch: Dispatch) -> None:
        """Events of the call had been published before, and were not sent again."""
        for draft, outcome in dispatch.duplicates:
            if self._log.count(dispatch.topic, "", _DUPLICATE) > 0:
                self._keep(_DUPLICATE, dispatch, draft, outcome, self._now_ms(), None)

    def close(self, timeout: float) -> None:
        """Write what there is, within `timeout` seconds."""
        self._log.close(timeout)

    def _keep(
        self,
        outcome: str,
        dispatch: Dispatch,
        draft: Draft,
        published: Published,
        at_ms: int,
        duration_ms: int | None,
    ) -> None:
        try:
            metadata = _metadata(draft.value)
            self._log.keep(
                Transition(
                    at_ms,
                    outcome,
                    draft.event_id,
                    dispatch.topic,
                    "",
                    published.partition,
                    published.offset,
                    draft.key.decode(errors="replace")[:MAX_KEY] if draft.key is not None else None,
                    metadata["priority"],
                    metadata["source"],
                    metadata["userId"],
                    metadata["correlationId"],
                    duration_ms=duration_ms,
                    worker=dispatch.by,
                )
            )
        except Exception:
            # Only for showing: the event is published all the same.
            log.exception("activity_not_described", extra={"event_id": draft.event_id, "topic": dispatch.topic})

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


def _metadata(value: bytes) -> Any:
    """The metadata of an encoded event, without reading its data, which may be large."""
    return orjson.loads(value[len(_BEFORE_METADATA) : value.index(_BEFORE_DATA)])
