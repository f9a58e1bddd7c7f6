"""Publishing events, and asking what became of them.

    published = bus.publish("order.created", {"orderId": "42"}, key="42", source="checkout")
    published.event_id, published.partition, published.offset

A publish says success only after the broker's acknowledgement, and after the ledger knows of it. With an `event_id` of
the caller's own an event is published once within an hour, however often it is sent; after a time-out nobody knows
whether it arrived, and sending it again with the same id is safe: consumers drop a second copy.

While Redis is away publishing goes on without that memory.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from bus import conf
from bus.producer.client import EventProducer, LabelOptions, PublishOptions
from bus.producer.dispatch import Outcome, Published, PublishFailure
from bus.producer.drafts import EventInput
from bus.producer.questions import (
    aevent_status,
    ais_event_processed,
    ais_event_published,
    event_status,
    is_event_processed,
    is_event_published,
)

__all__ = [
    "EventInput",
    "EventProducer",
    "Outcome",
    "PublishFailure",
    "Published",
    "aevent_status",
    "ais_event_processed",
    "ais_event_published",
    "apublish",
    "apublish_batch",
    "event_status",
    "is_event_processed",
    "is_event_published",
    "publish",
    "publish_batch",
    "shared",
]

_EXIT_SECONDS = 5.0

_shared: EventProducer | None = None
# Clients of a parent process: never used again, and never destroyed, which would wait for threads that aren't here.
_foreign: list[EventProducer] = []
_lock = threading.Lock()


def publish(topic: str, data: Any, **options: Unpack[PublishOptions]) -> Published:
    """Publish an event and wait until Kafka has acknowledged it.

    `data` is what JSON can hold; a topic's model checks it, and it is sent as it was given. Options: `key` (events of
    the same key stay in order), `event_id` (1 to 128 printable characters; a random UUID unless given), `priority`
    (critical, high, normal or low), `source`, `correlation_id`, `user_id`, `version`, `timeout` in seconds,
    `published_by`, `traceparent`.

    Raises InvalidEventError (nothing was sent; among them UnknownTopicError and EventTooLargeError),
    EventIdConflictError and PublishInFlightError for an id that is taken, PublishUnknownError when no answer came in
    time (send again with its `event_id`), PublishRefusedError and BrokerUnavailableError when it was not published.
    """
    return shared().publish(topic, data, **options)


async def apublish(topic: str, data: Any, **options: Unpack[PublishOptions]) -> Published:
    """`publish` for coroutines; never blocks the event loop."""
    return await shared().apublish(topic, data, **options)


def publish_batch(
    topic: str, events: Iterable[Mapping[str, Any] | EventInput], **options: Unpack[LabelOptions]
) -> list[Outcome]:
    """Publish events on one topic, each on its own, and wait until all have an outcome.

    An event is a mapping with `data` and, where wanted, `key`, `event_id`, `priority`, `source`, `correlation_id`,
    `user_id`, `version`, or an EventInput; `options` are for those that don't say. Returns per event, in their order,
    a Published or a PublishFailure, whose `error` is what `publish` would have raised.

    Raises UnknownTopicError, and InvalidEventError for no events or more than BUS_MAX_BATCH; nothing was sent then.
    """
    return shared().publish_batch(topic, events, **options)


async def apublish_batch(
    topic: str, events: Iterable[Mapping[str, Any] | EventInput], **options: Unpack[LabelOptions]
) -> list[Outcome]:
    """`publish_batch` for coroutines; never blocks the event loop."""
    return await shared().apublish_batch(topic, events, **options)


def shared() -> EventProducer:
    """The producer of this process, made at first use."""
    global _shared
    settings, found = conf.current(), _shared
    if found is not None and found.settings is settings:
        return found
    with _lock:
        found = _shared
        if found is None or found.settings is not settings:
            if found is not None:
                found.close(_EXIT_SECONDS)
            found = _shared = EventProducer(settings)
        return found


def close(timeout: float = _EXIT_SECONDS) -> None:
    """Wait up to `timeout` seconds for what is being published, and stop the producer of this process."""
    global _shared
    found, _shared = _shared, None
    if found is not None:
        found.close(timeout)


def _forget_after_fork() -> None:
    global _shared, _lock
    # A client made before a fork accepts events and never sends them.
    if _shared is not None:
        _foreign.append(_shared)
    _shared, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(close)
