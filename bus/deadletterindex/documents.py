"""Dead letters and error groups as JSON, the same for the API and the commands."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from bus import deadletters
from bus.deadletterindex.rows import Place
from bus.deadletterindex.times import iso, iso_or_none
from bus.deadletterindex.trends import Trend
from bus.models import DeadLetter, ErrorGroup, ErrorGroupPlace, LetterStatus

_COUNTED = [status.value for status in LetterStatus if status != LetterStatus.SUPERSEDED]


def letter_document(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as lists show it.

    One that failed again is open again: the newer dead letter, which stands for it, can be replayed.
    """
    is_superseded = letter.status == LetterStatus.SUPERSEDED
    return {
        "id": letter.pk,
        "status": LetterStatus.OPEN.value if is_superseded else letter.status,
        "topic": letter.topic,
        "group": letter.group or None,
        "eventId": letter.event_id,
        "eventType": letter.event_type or None,
        "key": letter.key if letter.has_key else None,
        "correlationId": letter.correlation_id or None,
        "reason": letter.reason or None,
        "attempts": letter.attempts,
        "error": {"type": letter.error_type or None, "message": letter.error_message or None},
        "fingerprint": letter.fingerprint,
        "firstFailedAt": iso(letter.first_failed_at),
        "lastFailedAt": iso(letter.last_failed_at),
        "generation": letter.generation,
        "replayedTimes": letter.replayed_times,
        "failedAgainTimes": letter.failed_again_times,
        "size": letter.size,
    }


def letter_details(
    letter: DeadLetter, places: Iterable[Place], newer: int | None, stack_trace: str | None
) -> dict[str, Any]:
    """A dead letter as it is shown alone. `newer` is the id of what stands for it since it failed again."""
    document = letter_document(letter)
    document["error"]["stackTrace"] = stack_trace
    return {
        **document,
        "positions": [each._asdict() for each in places],
        "previous": letter.previous_id,
        "failedAgainAs": newer,
        "replay": letter.replay_id,
        "replayedAt": iso_or_none(letter.replayed_at),
        "replayedBy": letter.replayed_by or None,
        "resolvedAt": iso_or_none(letter.resolved_at),
        "discarded": None
        if letter.discarded_at is None
        else {
            "at": iso(letter.discarded_at),
            "by": letter.discarded_by,
            "reason": letter.discard_reason or None,
            "isPurged": letter.purged_at is not None,
        },
        "kept": letter.kept,
        "hasLeftKafka": letter.has_left_kafka,
    }


def payload_document(record: deadletters.DeadLetter) -> dict[str, Any]:
    """The original record. A value, key or header that isn't text is given in base64, as `encoding` says."""
    origin = record.origin
    return {
        "value": content_document(record.value),
        "key": content_document(record.key),
        "headers": [{"name": name, **(content_document(value) or {"text": None})} for name, value in record.headers],
        "atOrigin": sorted(record.at_origin),
        "origin": origin and {"topic": origin.topic, "partition": origin.partition, "offset": origin.offset},
        "problems": list(record.problems),
    }


def group_document(
    group: ErrorGroup, places: Collection[ErrorGroupPlace], new_since: datetime, trend: Trend | None = None
) -> dict[str, Any]:
    """An error group; `places` are those of its topics and consumer groups that may be seen."""
    counts = {name: sum(getattr(place, name) for place in places) for name in LetterStatus.values}
    held = [place for place in places if any(getattr(place, name) for name in _COUNTED)]
    total = sum(counts.values())
    return {
        "fingerprint": group.fingerprint,
        "errorType": group.error_type or None,
        "message": group.message or None,
        "frame": group.frame or None,
        "count": sum(counts[name] for name in _COUNTED),
        **{name: counts[name] for name in _COUNTED},
        "firstSeenAt": iso(group.first_seen_at),
        "lastSeenAt": iso(group.last_seen_at),
        "topics": sorted({place.topic for place in held}),
        "groups": sorted({place.group for place in held if place.group}),
        "replayed": group.replayed,
        "replayedShare": round(min(1.0, group.replayed / total), 4) if total else 0.0,
        "lastReplayedAt": iso_or_none(group.last_replayed_at),
        "cameBack": group.came_back,
        "cameBackAt": iso_or_none(group.came_back_at),
        "note": group.note or None,
        "owner": group.owner or None,
        "notedBy": group.noted_by or None,
        "notedAt": iso_or_none(group.noted_at),
        "isNew": group.first_seen_at >= new_since,
        "trend": None if trend is None else trend_document(trend),
    }


def trend_document(trend: Trend) -> dict[str, Any]:
    """Failures over time."""
    return {
        "start": iso(trend.start),
        "stepSeconds": int(trend.step.total_seconds()),
        "counts": list(trend.counts),
    }


def content_document(value: bytes | None) -> dict[str, str] | None:
    """Bytes as JSON: text, or base64 for what isn't UTF-8, as `encoding` says."""
    if value is None:
        return None
    try:
        return {"encoding": "utf-8", "text": value.decode()}
    except UnicodeDecodeError:
        return {"encoding": "base64", "text": b64encode(value).decode()}
