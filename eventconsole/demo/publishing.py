"""The traffic's way into Kafka: at a steady rate, through outages, until it is told to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice

import bus
from bus.envelope import new_event_id
from bus.errors import BusError, PublishInFlightError, PublishUnknownError, UnavailableError
from eventconsole.demo.traffic import Draft

log = logging.getLogger(__name__)

#: Above ten events a second they are published in batches, ten a second.
TICK_SECONDS = 0.1
#: Short, so that the traffic ends in time when it is told to while Kafka doesn't answer.
PUBLISH_SECONDS = 3.0

_OUTAGES = (UnavailableError, PublishUnknownError)
# Published or not: the next try, with the same id, will tell.
_PASSING = (*_OUTAGES, PublishInFlightError)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A draft with the id that it keeps through every try to publish it."""

    draft: Draft
    event_id: str = field(default_factory=new_event_id)


#: Publishes parcels and returns for each what went wrong, or None.
Publish = Callable[[Sequence[Parcel]], Sequence[BusError | None]]


class Publishing:
    """Publishes a stream of drafts at `rate` events a second.

    `wait` waits for so many seconds and returns whether to stop; `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        drafts: Iterator[Draft],
        publish: Publish,
        *,
        rate: float,
        wait: Callable[[float], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._drafts = drafts
        self._publish = publish
        self._rate = rate
        self._wait = wait
        self._clock = clock
        self._waiting: list[Parcel] = []
        self._refused: set[str] = set()
        self._is_away = False
        self.published = 0

    def run(self, count: int | None = None) -> int:
        """Publish `count` events, or until told to stop. Returns how many are published."""
        due, taken = self._clock(), 0
        while count is None or taken < count or self._waiting:
            # What waits is published first: a story whose first event is lost would make no sense.
            if not self._waiting:
                size = max(1, int(self._rate * TICK_SECONDS))
                size = size if count is None else min(size, count - taken)
                self._waiting = [Parcel(draft) for draft in islice(self._drafts, size)]
                taken += len(self._waiting)
                due += len(self._waiting) / self._rate
            else:
                due += 1.0
            self._publish_waiting()
            now = self._clock()
            # An outage isn't made up for with a burst.
            due = max(due, now)
            if self._wait(due - now):
                break
        return self.published

    def _publish_waiting(self) -> None:
        errors = self._publish(self._waiting)
        kept = [(parcel, error) for parcel, error in zip(self._waiting, errors, strict=True) if error is not None]
        self.published += len(self._waiting) - len(kept)
        self._waiting = [parcel for parcel, error in kept if isinstance(error, _PASSING)]
        for parcel, error in kept:
            if not isinstance(error, _PASSING) and parcel.draft.topic not in self._refused:
                self._refused.add(parcel.draft.topic)
                log.warning(
                    "events of this topic are refused", extra={"topic": parcel.draft.topic, "error": str(error)}
                )
        if self._waiting and not self._is_away:
            reason = next(str(error) for _, error in kept if isinstance(error, _PASSING))
            log.warning("traffic waits: an event can't be published", extra={"error": reason})
        elif self._is_away and not self._waiting:
            log.info("traffic goes on")
        self._is_away = bool(self._waiting)


def publish_on_bus(parcels: Sequence[Parcel]) -> list[BusError | None]:
    """Publish parcels, those of one topic that follow each other in one batch; an outage ends it."""
    errors: list[BusError | None] = []
    outage: BusError | None = None
    for topic, group in groupby(parcels, key=lambda parcel: parcel.draft.topic):
        batch = list(group)
        # Once Kafka is away each further batch would wait for its own time-out, and an order to stop with it.
        found = [outage] * len(batch) if outage else _publish_batch(topic, batch)
        outage = outage or next((error for error in found if isinstance(error, _OUTAGES)), None)
        errors.extend(found)
    return errors


def _publish_batch(topic: str, batch: Sequence[Parcel]) -> list[BusError | None]:
    try:
        results = bus.publish_batch(topic, [_fields(parcel) for parcel in batch], timeout=PUBLISH_SECONDS)
    except BusError as error:
        return [error] * len(batch)
    return [result.error if isinstance(result, bus.PublishFailure) else None for result in results]


def _fields(parcel: Parcel) -> dict[str, object]:
    draft = parcel.draft
    return {
        "data": draft.data,
        "key": draft.key,
        "priority": draft.priority,
        "source": draft.source,
        "correlation_id": draft.correlation_id,
        "user_id": draft.user_id,
        "event_id": parcel.event_id,
    }
