"""Audit: who did what, when and why, with a filter in the address, paging and export."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from bus.audit import AuditFilter, audit_page, entry_document
from bus.deadletterindex.pages import CursorError
from bus.models import AuditEntry
from eventconsole.models import Scope
from eventconsole.pages.access import needs
from eventconsole.pages.listing import MAX_EXPORT, PAGE_ROWS, export, wants_export

_FIELDS = ("who", "what", "target_kind", "target", "outcome")
_PAGES = {
    "dead-letter": "/dead-letters/{}",
    "replay": "/replays/{}",
    "consumer-group": "/groups/{}",
    "group": "/groups/{}",
    "error-group": "/dead-letters?filter=fingerprint:{}",
    "event": "/events/{}",
    "topic": "/topics/{}",
}
_EXPORT_PAGE = 1000


@needs(Scope.READ)
def audit(request: HttpRequest) -> HttpResponse:
    """The newest entries that fit, a page of them."""
    wanted, problems = wanted_of(request)
    if kind := wants_export(request):
        return export(kind, "audit", _all(wanted))
    try:
        page = audit_page(wanted, PAGE_ROWS, request.GET.get("cursor") or None)
    except CursorError as error:
        problems.append(f"{error}; this is the first page")
        page = audit_page(wanted, PAGE_ROWS)
    context = {
        "rows": [(entry, target_url(entry)) for entry in page.rows],
        "next": page.next,
        "given": request.GET,
        "problems": problems,
        "is_filtered": any(request.GET.get(name) for name in (*_FIELDS, "since", "until")),
        "kinds": sorted(_PAGES),
        "outcomes": AuditEntry.Outcome.values,
        "as_of": datetime.now(UTC),
    }
    return render(request, "console/audit/audit.html", context)


def wanted_of(request: HttpRequest) -> tuple[AuditFilter, list[str]]:
    """The filter of the address, and what of it can't be understood."""
    given: dict[str, Any] = {name: request.GET.get(name) or None for name in _FIELDS}
    problems = []
    for name in ("since", "until"):
        text = request.GET.get(name)
        if not text:
            continue
        try:
            at = datetime.fromisoformat(text)
            given[name] = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            problems.append(f"{name}: {text[:40]!r} isn't a time; write it as 2026-11-27T03:15")
    return AuditFilter(**given), problems


def target_url(entry: AuditEntry) -> str | None:
    """The page of what was acted upon, when there is one."""
    pattern = _PAGES.get(entry.target_kind)
    return pattern.format(quote(entry.target, safe="")) if pattern and entry.target else None


def _all(wanted: AuditFilter) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    for _ in range(MAX_EXPORT // _EXPORT_PAGE):
        page = audit_page(wanted, _EXPORT_PAGE, cursor)
        yield from (entry_document(entry) for entry in page.rows)
        cursor = page.next
        if cursor is None:
            return


urlpatterns = [path("audit", audit, name="audit")]
