"""The page of all dead letters: the answer, error groups as cards, and the list of the same filter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from bus import audit
from bus.deadletterindex.documents import letter_document
from bus.deadletterindex.pages import MAX_PAGE, CursorError, LetterFilter, letter_page
from bus.models import AuditEntry, DeadLetter, LetterStatus, Replay
from eventconsole.filters import FilterProblem
from eventconsole.models import Scope
from eventconsole.pages import completion
from eventconsole.pages.access import needs
from eventconsole.pages.dead_letters.answer import answer_of
from eventconsole.pages.dead_letters.cards import SORTS, Cards, cards_of
from eventconsole.pages.dead_letters.search import LANGUAGE, Search, from_parameters, now, read, values
from eventconsole.pages.listing import PAGE_ROWS, export, wants_export
from eventconsole.pages.replays.operation import Operation, operations_of, shown_beside_dead_letters

#: So many are counted before a discard; above it, the answer says "more than".
MOST_COUNTED: Final = 100_000
SAMPLE: Final = 20
_TABS: Final = (
    (LetterStatus.OPEN, "Open"),
    (LetterStatus.REPLAYING, "Replaying"),
    (LetterStatus.DISCARDED, "Discarded"),
    (LetterStatus.RESOLVED, "Resolved"),
    ("any", "All"),
)


@needs(Scope.READ)
def page(request: HttpRequest) -> HttpResponse:
    """Cards and list of a filter, the last failed first."""
    named = request.GET.get("q") or from_parameters(request.GET.dict())
    if named and "filter" not in request.GET:
        return redirect(f"/dead-letters?{urlencode({'filter': named})}")
    at, text = now(), request.GET.get("filter", "")
    try:
        search, problem = read(text, at), None
    except FilterProblem as refused:
        search, problem = None, refused
    if search is not None and (kind := wants_export(request)):
        return export(kind, "dead-letters", exported(search.letters))
    context = {"answer": answer_of(at), "text": text, "problem": problem, "as_of": at, "pending": pending(at)}
    context["fields"] = list(LANGUAGE.fields)
    if search is not None:
        context |= _found(request, search, at)
    return render(request, "console/dead_letters/list.html", context, status=200 if problem is None else 400)


def _found(request: HttpRequest, search: Search, at: datetime) -> dict[str, Any]:
    sort = request.GET.get("sort", SORTS[0])
    sort = sort if sort in SORTS else SORTS[0]
    cards = cards_of(search, at, start=start_of(request.GET.get("groups", "")), sort=sort)
    oldest_first = request.GET.get("order") == "oldest"
    listed = rows_of(search.letters, request.GET.get("cursor"), oldest_first)
    return {
        "search": search,
        "cards": cards,
        "alone": _alone(search, cards),
        "operations": operations_beside(search, cards, at),
        "tabs": [Tab(words, search.with_status(status), status == search.status) for status, words in _TABS],
        "rows": listed.rows,
        "next": listed.next,
        "cursor_problem": listed.problem,
        "sorts": SORTS,
        "oldest_first": oldest_first,
        "room": {"filter": search.text, "sort": sort, "groups": "" if cards.start is None else cards.start},
    }


def start_of(text: str) -> int | None:
    """Where the cards of a page start; None for the few that are shown at first."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


def operations_beside(search: Search, cards: Cards, at: datetime) -> list[Operation]:
    """What runs, and what ended lately, but for those that a card shows. Beside a filter, those of the same filter."""
    inside = {card.operation.replay.pk for card in cards.shown if card.operation is not None}
    found = [each for each in shown_beside_dead_letters(at) if each.pk not in inside]
    if search.status not in (LetterStatus.OPEN, LetterStatus.REPLAYING):
        return []
    if search.is_narrow:
        wanted = _without_times(search.letters.document())
        found = [each for each in found if _without_times(each.filter) == wanted]
    return operations_of(found, at)


def _without_times(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in ("status", "since", "until")}


@dataclass(frozen=True, slots=True)
class Tab:
    """A link to the same search in another status."""

    words: str
    text: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of the list."""

    rows: Sequence[DeadLetter] = ()
    next: str | None = None
    problem: str = ""


def rows_of(wanted: LetterFilter, cursor: str | None, oldest_first: bool = False) -> Listed:
    """The dead letters of a page."""
    try:
        found = letter_page(wanted, PAGE_ROWS, cursor, oldest_first=oldest_first)
    except CursorError as error:
        return Listed(problem=str(error))
    return Listed(found.rows, found.next)


@dataclass(frozen=True, slots=True)
class Alone:
    """What is shown when one error group fills the page: what was done to it."""

    entries: Sequence[AuditEntry]


def _alone(search: Search, cards: Cards) -> Alone | None:
    if search.fingerprint is None or not cards.shown:
        return None
    return Alone(audit.of_error_group(search.fingerprint, 30))


def pending(at: datetime) -> list[Replay]:
    """Replays of one that can still be undone: they wait on the server, not in somebody's tab."""
    soon = Replay.objects.filter(state=Replay.State.RUNNING, send_at__gt=at, send_at__lt=at + timedelta(minutes=10))
    return list(soon.order_by("send_at")[:10])


def exported(wanted: LetterFilter) -> Iterator[dict[str, Any]]:
    """All that fit, page by page; payloads never."""
    cursor: str | None = None
    while True:
        found = letter_page(wanted, MAX_PAGE, cursor)
        for letter in found.rows:
            document = letter_document(letter)
            error = document.pop("error")
            yield {**document, "errorType": error["type"], "errorMessage": error["message"]}
        if found.next is None:
            return
        cursor = found.next


@needs(Scope.READ)
def matching(request: HttpRequest) -> HttpResponse:
    """How many fit a filter right now, and the first of them: what is shown before all of them are changed."""
    at = now()
    try:
        search = read(request.GET.get("filter", ""), at)
    except FilterProblem as refused:
        return JsonResponse({"detail": str(refused)}, status=422)
    wanted = search.letters
    counted = wanted.letters().order_by()[: MOST_COUNTED + 1].count()
    sample = letter_page(wanted, SAMPLE).rows
    return JsonResponse(
        {
            "count": min(counted, MOST_COUNTED),
            "isAll": counted <= MOST_COUNTED,
            "filter": search.document(),
            "asOf": at.isoformat(),
            "sample": [letter_document(each) for each in sample],
        }
    )


@needs(Scope.READ)
def complete(request: HttpRequest) -> HttpResponse:
    """What could stand in the filter where the cursor is."""
    return completion.complete(request, LANGUAGE, values)
