"""Dead letters and error groups."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from django.http import HttpRequest, HttpResponse
from ninja import Body, Path, Query, Router
from pydantic import Field

from bus.deadletterindex.documents import payload_document
from bus.deadletterindex.records import OriginGoneError, record_of, whole_record_of
from bus.deadletterindex.trends import Span
from bus.errors import UnavailableError
from eventconsole.api import bodies
from eventconsole.api import dead_letter_bodies as shapes
from eventconsole.api import dead_letter_views as views
from eventconsole.api.answers import answer
from eventconsole.api.auth import caller_of, needs
from eventconsole.api.query import refuse_unknown
from eventconsole.models import Scope

T = TypeVar("T")

_REFUSALS = dict.fromkeys((401, 403, 422, 503), bodies.ProblemDocument)
_OF_ONE = dict.fromkeys((401, 403, 404, 422, 503), bodies.ProblemDocument)
_OF_CHANGES = dict.fromkeys((401, 403, 404, 409, 422, 503), bodies.ProblemDocument)
_ORIGIN_SECONDS = 5.0

LetterId = Path[Annotated[int, Field(ge=1, lt=2**63)]]

letters = Router(tags=["dead letters"])
groups = Router(tags=["dead letters"])
index = Router(tags=["dead letters"])


@letters.get(
    "",
    response={200: shapes.LetterPage, **_REFUSALS},
    auth=needs(Scope.READ),
    by_alias=True,
    summary="List dead letters",
)
async def list_letters(request: HttpRequest, query: Query[shapes.LetterQuery]) -> HttpResponse:
    """Dead letters that fit, the last failed first. `next` of the answer is the `cursor` of the page after it."""
    refuse_unknown(request, shapes.LetterQuery)
    caller = caller_of(request)
    return answer(await _ask(lambda: views.list_letters(query, query.limit, query.cursor, caller)))


@letters.post(
    "/discard",
    response={200: shapes.ChangedAnswer, **_OF_CHANGES},
    auth=needs(Scope.REPLAY),
    by_alias=True,
    summary="Discard dead letters",
)
async def discard(request: HttpRequest, selection: Body[shapes.DiscardRequest]) -> HttpResponse:
    """Take open dead letters out of the way, some by `ids` or all that fit a `filter`, with a reason.

    They can be restored for a while (BUS_DISCARDED_DAYS).
    """
    caller = caller_of(request)
    return _answer(await _ask(lambda: views.discard(selection, selection.reason, caller), views.CHANGE_SECONDS + 20))


@letters.post(
    "/restore",
    response={200: shapes.ChangedAnswer, **_OF_CHANGES},
    auth=needs(Scope.REPLAY),
    by_alias=True,
    summary="Restore discarded dead letters",
)
async def restore(request: HttpRequest, selection: Body[shapes.RestoreRequest]) -> HttpResponse:
    """Open discarded dead letters again."""
    caller = caller_of(request)
    return _answer(await _ask(lambda: views.restore(selection, selection.reason, caller), views.CHANGE_SECONDS + 20))


@letters.get(
    "/{int:letter_id}",
    response={200: dict[str, Any], **_OF_ONE},
    auth=needs(Scope.READ),
    summary="See a dead letter",
)
async def show_letter(request: HttpRequest, letter_id: LetterId) -> HttpResponse:
    """A dead letter with its stack trace, where its records are, and what was done to it."""
    caller = caller_of(request)
    return _answer(await _ask(lambda: views.show_letter(letter_id, caller)))


@letters.get(
    "/{int:letter_id}/payload",
    response={200: dict[str, Any], 410: bodies.ProblemDocument, **_OF_ONE},
    auth=needs(Scope.READ),
    summary="See what a dead letter's event said",
)
async def payload(request: HttpRequest, letter_id: LetterId, raw: Query[bool] = False) -> HttpResponse:
    """The original record: value, key and headers. With `raw=true`, or `Accept: application/octet-stream`, the value's
    bytes alone, as they were published (204 when the record has none).
    """
    caller = caller_of(request)

    def read(*, whole: bool) -> Any:
        letter = views.find_letter(letter_id, caller)
        return whole_record_of(letter.pk, timeout=_ORIGIN_SECONDS) if whole else record_of(letter.pk)

    if raw or request.headers.get("Accept", "").startswith("application/octet-stream"):
        record = await _ask(lambda: read(whole=True))
        if record.value is None:
            return HttpResponse(status=204)
        response = HttpResponse(record.value, content_type="application/octet-stream")
        response["Content-Disposition"] = f'attachment; filename="dead-letter-{letter_id}"'
        # Anybody may have published it: no browser is to make a page of it.
        response["Content-Security-Policy"] = "sandbox; default-src 'none'"
        return response
    try:
        record = await _ask(lambda: read(whole=True))
    except (OriginGoneError, UnavailableError):
        # `atOrigin` says what is missing; the rest is worth seeing.
        record = await _ask(lambda: read(whole=False))
    return _answer(payload_document(record))


@letters.post(
    "/{int:letter_id}/keep",
    response={200: dict[str, Any], **_OF_ONE},
    auth=needs(Scope.REPLAY),
    summary="Keep a dead letter",
)
async def keep(request: HttpRequest, letter_id: LetterId, wish: Body[shapes.KeepRequest]) -> HttpResponse:
    """Have a dead letter stay when Kafka deletes its record, or not any more."""
    caller = caller_of(request)
    return _answer(await _ask(lambda: views.keep_letter(letter_id, wish.keep, caller, datetime.now(UTC))))


@groups.get(
    "",
    response={200: shapes.GroupPage, **_REFUSALS},
    auth=needs(Scope.READ),
    by_alias=True,
    summary="List error groups",
)
async def list_groups(request: HttpRequest, query: Query[shapes.GroupQuery]) -> HttpResponse:
    """Dead letters grouped by error: the same type, the same message but for what varies, raised at the same place."""
    refuse_unknown(request, shapes.GroupQuery)
    caller = caller_of(request)

    def ask() -> dict[str, Any]:
        span = None if query.trend is None else Span[query.trend.upper()]
        return views.list_groups(query.filter(views.visible_topics(caller)), query.limit, query.cursor, span)

    return answer(await _ask(ask))


@groups.get(
    "/{fingerprint}",
    response={200: shapes.GroupAnswer, **_OF_ONE},
    auth=needs(Scope.READ),
    by_alias=True,
    summary="See an error group",
)
async def show_group(request: HttpRequest, fingerprint: Path[shapes.Words]) -> HttpResponse:
    """One error group."""
    caller = caller_of(request)
    return _answer(await _ask(lambda: views.show_group(fingerprint, caller)))


@groups.post(
    "/{fingerprint}/note",
    response={200: shapes.GroupAnswer, **_OF_ONE},
    auth=needs(Scope.REPLAY),
    by_alias=True,
    summary="Write a note about an error group, or name its owner",
)
async def note_group(
    request: HttpRequest, fingerprint: Path[shapes.Words], note: Body[shapes.NoteRequest]
) -> HttpResponse:
    """Notes and owners survive replays and reindexing; empty text removes them."""
    caller, at = caller_of(request), datetime.now(UTC)
    return _answer(await _ask(lambda: views.note_group(fingerprint, note.note, note.owner, caller, at)))


@index.get("", response={200: dict[str, Any], **_REFUSALS}, auth=needs(Scope.READ), summary="State of the index")
async def show_index(request: HttpRequest) -> HttpResponse:
    """How many records the index is behind Kafka, and as of when that is known."""
    return _answer(await _ask(views.show_index))


async def _ask(ask: Callable[[], T], timeout: float = views.QUERY_SECONDS) -> T:
    return await views.threads().ask(ask, timeout)


def _answer(data: Any) -> HttpResponse:
    return answer({"success": True, "data": data})
