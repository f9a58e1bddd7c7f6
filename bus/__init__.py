"""The event bus: publish, consume, retry, dead-letter and replay events on Apache Kafka.

import bus
from bus import handler

bus.publish("order.created", {"orderId": "42"})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bus.errors import PermanentError, RetryLater, SkipEvent
    from bus.handlers import handler
    from bus.producer import (
        EventInput,
        Published,
        PublishFailure,
        aevent_status,
        ais_event_processed,
        ais_event_published,
        apublish,
        apublish_batch,
        event_status,
        is_event_processed,
        is_event_published,
        publish,
        publish_batch,
    )

__all__ = [
    "EventInput",
    "PermanentError",
    "PublishFailure",
    "Published",
    "RetryLater",
    "SkipEvent",
    "aevent_status",
    "ais_event_processed",
    "ais_event_published",
    "apublish",
    "apublish_batch",
    "event_status",
    "handler",
    "is_event_processed",
    "is_event_published",
    "publish",
    "publish_batch",
]

_ORIGINS = {
    "PermanentError": "bus.errors",
    "RetryLater": "bus.errors",
    "SkipEvent": "bus.errors",
    "handler": "bus.handlers",
}


def __getattr__(name: str) -> Any:
    # At first use: importing the bus reads no settings, loads no client library and opens no connection.
    if name not in __all__:
        raise AttributeError(f"module 'bus' has no attribute {name!r}")
    found = getattr(importlib.import_module(_ORIGINS.get(name, "bus.producer")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
