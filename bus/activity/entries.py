"""One entry of the stream, and how it is packed.

    {"v": 1, "by": worker, "at": ms, "counts": [[topic, group, outcome, n], …], "durations": [[topic, group,
     [[bucket, n], …]], …], "fields": [names], "transitions": [[values], …], "skipped": n}

Large entries are compressed. The version grows when an older reader would misread the rest; what is merely added is
ignored by those that don't know it, as another release may read what this one wrote, and the other way round.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

VERSION = 1
MAX_ERROR = 300
MAX_KEY = 200
_COMPRESSED_FROM = 4096
_LARGEST = 16 * 1024 * 1024


class Outcome(StrEnum):
    """What happened to an event."""

    #: Kafka has acknowledged it. No group is named.
    PUBLISHED = "published"
    #: It was handed to its handler: an attempt begins.
    PROCESSING = "processing"
    #: The attempt failed; the next one is due at a known time.
    RETRYING = "retrying"
    #: The handler is done with it.
    PROCESSED = "processed"
    #: Its dead letter is in Kafka.
    FAILED = "failed"
    #: Sent again with an id that was published before (no group), or delivered again after it was done with.
    DUPLICATE = "duplicate"
    #: The handler didn't want it.
    SKIPPED = "skipped"


class Transition(NamedTuple):
    """What happened to one event. Times are ms since 1970; `group` is empty where none is concerned.

    `attempt` is 0 where nothing is attempted; `duration_ms` is that of the attempt, of a published event the time until
    Kafka's acknowledgement. `reason` says why an event failed (exhausted, permanent, undecodable, crash), or what a
    duplicate's first copy came to. `worker` is the process that says so.
    """

    at_ms: int
    outcome: str
    event_id: str
    topic: str
    group: str = ""
    partition: int = -1
    offset: int = -1
    key: str | None = None
    priority: str = "normal"
    source: str | None = None
    user_id: str | None = None
    correlation_id: str | None = None
    attempt: int = 0
    duration_ms: int | None = None
    error: str | None = None
    next_retry_at_ms: int | None = None
    worker: str = ""
    generation: int = 0
    reason: str | None = None


@dataclass(slots=True)
class Activity:
    """Half a second of one process. `counts` are exact; of the transitions `skipped` many are not among those given.

    `durations` holds per topic and group how many attempts fell into which bucket (see `quantile`).
    """

    id: str
    by: str
    at_ms: int
    counts: list[tuple[str, str, str, int]] = field(default_factory=list)
    durations: list[tuple[str, str, dict[int, int]]] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    skipped: int = 0


def pack(activity: Activity) -> bytes:
    """An entry as Redis keeps it."""
    value = {
        "v": VERSION,
        "by": activity.by,
        "at": activity.at_ms,
        "counts": activity.counts,
        "durations": [[topic, group, list(buckets.items())] for topic, group, buckets in activity.durations],
        "fields": Transition._fields,
        "transitions": [tuple(each) for each in activity.transitions],  # a named one is refused
        "skipped": activity.skipped,
    }
    try:
        packed = orjson.dumps(value)
    except TypeError:
        # Lone surrogates in what an exception says, or in a foreign record.
        value["transitions"] = [[_printable(each) for each in transition] for transition in activity.transitions]
        value["counts"] = [[_printable(each) for each in count] for count in activity.counts]
        packed = orjson.dumps(value)
    return zlib.compress(packed, 1) if len(packed) > _COMPRESSED_FROM else packed


def unpack(entry_id: str, packed: bytes) -> Activity | None:
    """An entry that was read; None for one that this release can't read."""
    try:
        if not packed.startswith(b"{"):
            packed = zlib.decompressobj().decompress(packed, _LARGEST)
        value = orjson.loads(packed)
        if value["v"] > VERSION:
            return None
        return Activity(
            entry_id,
            str(value["by"]),
            int(value["at"]),
            [(str(topic), str(group), str(outcome), int(n)) for topic, group, outcome, n, *_ in value["counts"]],
            [(topic, group, {int(b): int(n) for b, n in buckets}) for topic, group, buckets, *_ in value["durations"]],
            _transitions(value["fields"], value["transitions"]),
            int(value["skipped"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError, zlib.error):
        return None


def _transitions(names: list[str], rows: list[list[Any]]) -> list[Transition]:
    if tuple(names) == Transition._fields:
        return [Transition._make(row) for row in rows]
    known = [(at, name) for at, name in enumerate(names) if name in Transition._fields]
    return [Transition(**{name: row[at] for at, name in known}) for row in rows]


def _printable(value: Any) -> Any:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
