"""Pages for what went wrong: what happened, what wasn't lost, and what to do."""

from __future__ import annotations

import logging
import secrets

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from eventconsole.pages.access import problem

log = logging.getLogger(__name__)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400."""
    return problem(request, 400, "Bad request", "The request can't be read.", "Go back and try again.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403, such as a form that was open for longer than its session."""
    return problem(
        request,
        403,
        "Not allowed",
        "The request was refused.",
        "Reload the page, log in again if asked, and repeat it.",
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404; somebody unknown isn't even told what there is."""
    user = getattr(request, "user", None)
    if user is None:
        # The API's requests know no session; it makes a problem document of this.
        return HttpResponse(status=404)
    if not user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    return problem(
        request,
        404,
        "Not found",
        f"There is nothing at {request.path[:200]}.",
        "It may have been forgotten: Redis keeps events for an hour to a day, Kafka deletes old dead letters.",
    )


def failed(request: HttpRequest) -> HttpResponse:
    """500. Drawn without the database or the session: one of these may be what failed."""
    incident = secrets.token_hex(6)
    log.error("page_failed incident %s at %s", incident, request.path[:200])
    return HttpResponse(render_to_string("console/failed.html", {"incident": incident}), status=500)
