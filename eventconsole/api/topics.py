"""Records of topics, as far as somebody wants to look."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import orjson
from django.http import HttpRequest, HttpResponse
from ninja import Path, Query, Router

from bus import catalog, conf
from bus.browsing import BrowseError, Browser, Look, Wish
from bus.deadletterindex.documents import content_document
from bus.envelope import EVENT_ID, decode
from bus.errors import BrokerUnavailableError, EnvelopeError
from bus.kafka.consumer import Record, headers_of
from bus.kafka.reader import RecordReader
from bus.models import TopicState
from eventconsole.api import bodies
from eventconsole.api import topic_bodies as shapes
from eventconsole.api.answers import answer
from eventconsole.api.auth import caller_of, needs
from eventconsole.api.errors import INVALID, NOT_FOUND, Problem
from eventconsole.api.memory import DatabaseThreads
from eventconsole.api.query import refuse_unknown
from eventconsole.api.tokens import Caller
from eventconsole.models import Scope
from eventconsole.records import OpenedRecord, desk

#: One look takes about so long; whoever wants more asks again with the cursor.
LOOK_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 8.0
#: Characters of a value that a list shows; the record's own address has all of it.
SHOWN: Final = 400
_MOST_SHOWN_KEY: Final = 200
_MOST_DECODED: Final = 64 * 1024

_REFUSALS = dict.fromkeys((401, 403, 404, 422, 503), bodies.ProblemDocument)
_mine = threading.local()

router = Router(tags=["topics"])


@cache
def _threads() -> DatabaseThreads:
    """Threads that wait for Kafka; few, because each holds a reader with connections of its own."""
    return DatabaseThreads(2)


@router.get(
    "/{name}/records",
    response={200: shapes.RecordsAnswer, **_REFUSALS},
    auth=needs(Scope.READ),
    by_alias=True,
    summary="Browse a topic",
)
async def records(request: HttpRequest, name: Path[str], query: Query[shapes.RecordsQuery]) -> HttpResponse:
    """Look at records of a topic, about a second's worth. `effort` says how many were read for it.

    The values are cut; `next` is null when there is nothing more in that direction.
    """
    refuse_unknown(request, shapes.RecordsQuery)
    caller = caller_of(request)
    return answer(await _threads().ask(lambda: _records(name, query, caller), ANSWER_SECONDS))


@router.get(
    "/{name}/records/{int:partition}/{int:offset}",
    response={200: dict[str, Any], **_REFUSALS},
    auth=needs(Scope.READ),
    summary="See a record",
)
async def record(request: HttpRequest, name: Path[str], partition: Path[int], offset: Path[int]) -> HttpResponse:
    """One record as Kafka has it: all of its value, its key and headers."""
    caller = caller_of(request)

    def read() -> dict[str, Any]:
        _partitions(name, partition, caller)
        found = desk().read(name, partition, offset)
        if found is None:
            raise Problem(NOT_FOUND, f"{name}[{partition}]@{offset} isn't in Kafka, or not any more")
        return record_document(found)

    return answer({"success": True, "data": await _threads().ask(read, ANSWER_SECONDS)})


def record_document(found: OpenedRecord) -> dict[str, Any]:
    """A record as JSON."""
    return {
        "topic": found.topic,
        "partition": found.partition,
        "offset": found.offset,
        "timestampMs": found.timestamp_ms,
        "size": found.size,
        "key": content_document(found.key),
        "value": content_document(found.value),
        "headers": [{"name": name, **(content_document(value) or {"text": None})} for name, value in found.headers],
    }


def source_of(name: str) -> str:
    """The topic whose events a `.dlq` topic holds; any other topic itself."""
    return name.removesuffix(catalog.DEAD_LETTER_SUFFIX)


def _records(name: str, query: shapes.RecordsQuery, caller: Caller) -> dict[str, Any]:
    partitions = _partitions(name, query.partition, caller)
    wish = Wish(name, partitions, query.q, query.limit)
    reader, browser = _tools()
    try:
        cursor = query.cursor or _begin(browser, reader, wish, query.start)
        look = browser.look(wish, cursor, LOOK_SECONDS)
    except BrowseError as error:
        raise Problem(INVALID, str(error)) from error
    except BrokerUnavailableError:
        # A new one next time: after a restart of the broker an old one may be refused for ever.
        _drop_tools()
        raise
    return {"data": [row(each) for each in look.records], "next": look.cursor, "effort": effort(look)}


def _partitions(name: str, only: int | None, caller: Caller) -> Sequence[int]:
    state = TopicState.objects.filter(name=name).first()
    if not caller.may_use(source_of(name)) or (state is None and catalog.topic(source_of(name)) is None):
        raise Problem(NOT_FOUND, f"There is no topic {name:.200}, or this token may not see it")
    count = state.partition_count if state and state.partition_count else conf.current().topic_partitions
    if only is not None and only >= count:
        raise Problem(INVALID, f"partition: {only} given, {name} has {count}: 0 to {count - 1}")
    return range(count) if only is None else [only]


def _begin(browser: Browser, reader: RecordReader, wish: Wish, start: str) -> str:
    if start == "newest":
        return browser.newest(wish)
    if start == "oldest":
        return browser.from_offsets(wish)
    if start.isascii() and start.isdigit():
        return browser.from_offsets(wish, dict.fromkeys(wish.partitions, int(start)))
    try:
        at = datetime.fromisoformat(start)
    except ValueError:
        raise Problem(
            INVALID,
            f"start: {start!r} given, allowed are newest, oldest, an offset such as 1200, or a time such as "
            "2026-11-27T03:15:00Z",
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    found = reader.offsets_at([(wish.topic, p) for p in wish.partitions], max(0, int(at.timestamp() * 1000)))
    return browser.from_offsets(wish, {partition: offset for (_, partition), offset in found.items()})


def row(record: Record) -> dict[str, Any]:
    """A record as a list shows it: its place, its time, its key, and the beginning of its value as text."""
    value, key = record.value(), record.key()
    headers = headers_of(record)
    event_id = dict(headers).get(EVENT_ID)
    text = None if value is None else value[: SHOWN * 4].decode(errors="replace")
    data = _data(value)
    return {
        "partition": record.partition(),
        "offset": record.offset(),
        "timestampMs": record.timestamp()[1],
        "key": None if key is None else key.decode(errors="replace")[:_MOST_SHOWN_KEY],
        "eventId": event_id.decode(errors="replace") if event_id else None,
        "headers": len(headers),
        "size": len(value or b""),
        "value": None if text is None else text[:SHOWN],
        "data": None if data is None else data[:SHOWN],
        "isCut": len(data or text or "") > SHOWN or (value is not None and len(value) > SHOWN * 4),
    }


def _data(value: bytes | None) -> str | None:
    """What an event says, without its metadata; None for what isn't one of our events, or is too long to take apart."""
    if value is None or len(value) > _MOST_DECODED:
        return None
    try:
        return orjson.dumps(decode(value).data).decode()
    except (EnvelopeError, TypeError):
        return None


def effort(look: Look) -> dict[str, Any]:
    """What a look cost."""
    return {
        "scanned": look.scanned,
        "bytes": look.size,
        "seconds": round(look.seconds, 3),
        "silentPartitions": look.silent,
    }


def _tools() -> tuple[RecordReader, Browser]:
    settings = conf.current()
    if getattr(_mine, "settings", None) is not settings:
        _drop_tools()
        _mine.reader, _mine.settings = RecordReader(settings, "browser"), settings
        _mine.browser = Browser(_mine.reader)
    return _mine.reader, _mine.browser


def _drop_tools() -> None:
    reader = getattr(_mine, "reader", None)
    _mine.settings = _mine.reader = None
    if reader is not None:
        reader.close()
