"""What went wrong, as HTTP says it: one table from error to status, and RFC 9457 problem documents."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError
from ninja.errors import ValidationError as RequestError

from bus import errors as bus
from bus.deadletterindex.pages import CursorError
from bus.deadletterindex.records import OriginGoneError, PayloadGoneError
from eventconsole.api.exact_json import JsonError

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
#: A body can hold a thousand events that are all wrong in the same way.
MAX_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem. `retry_after`, in seconds, is given when the same request may work later."""

    status: int
    name: str
    title: str
    retry_after: int | None = None


BAD_JSON = Kind(400, "bad-json", "The body can't be read")
BAD_REQUEST = Kind(400, "bad-request", "The request can't be read")
UNAUTHORIZED = Kind(401, "unauthorized", "A token or a login is needed")
FORBIDDEN = Kind(403, "forbidden", "This isn't allowed to you")
NOT_FOUND = Kind(404, "not-found", "Not found")
METHOD_NOT_ALLOWED = Kind(405, "method-not-allowed", "The address doesn't take this method")
CONFLICT = Kind(409, "conflict", "Its state doesn't allow that")
GONE = Kind(410, "gone", "It isn't kept any more")
TOO_LARGE = Kind(413, "too-large", "Too large")
NOT_JSON = Kind(415, "unsupported-media-type", "The body must be JSON")
INVALID = Kind(422, "invalid", "What was sent is refused")
INTERNAL = Kind(500, "internal", "Something broke")
UNAVAILABLE = Kind(503, "unavailable", "Something the service leans on can't be reached", 5)

#: The nearest class wins.
TABLE: Mapping[type[Exception], Kind] = {
    JsonError: BAD_JSON,
    bus.InvalidEventError: INVALID,
    bus.EventTooLargeError: TOO_LARGE,
    bus.EventIdConflictError: Kind(409, "event-id-conflict", "The eventId belongs to an event on another topic"),
    bus.PublishInFlightError: Kind(409, "publish-in-flight", "The same eventId is being published just now", 2),
    bus.PublishUnknownError: Kind(503, "publish-unknown", "The event may or may not have been published", 2),
    bus.PublishRefusedError: Kind(503, "publish-refused", "The event was not published", 5),
    bus.PublishError: Kind(503, "publish-failed", "The event isn't known to be published", 5),
    bus.UnavailableError: UNAVAILABLE,
    bus.BrokerUnavailableError: Kind(503, "broker-unavailable", "Kafka can't be reached", 5),
    bus.LedgerUnavailableError: Kind(503, "ledger-unavailable", "Redis can't be reached", 5),
    bus.DatabaseUnavailableError: Kind(503, "database-unavailable", "The database can't be reached", 5),
    CursorError: INVALID,
    PayloadGoneError: GONE,
    OriginGoneError: GONE,
    Http404: NOT_FOUND,
    SuspiciousOperation: BAD_REQUEST,
    RequestDataTooBig: TOO_LARGE,
    Exception: INTERNAL,
}

_BY_STATUS = {
    kind.status: kind
    for kind in (BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE, NOT_JSON, INVALID)
}


@dataclass(slots=True)
class Problem(Exception):  # noqa: N818 -- RFC 9457's word
    """A problem document to answer with. `errors` are the wrong fields; `members` stand beside the standard ones."""

    kind: Kind
    detail: str
    errors: Sequence[tuple[str, str]] = ()
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON of the problem."""
        document: dict[str, Any] = {
            "type": f"urn:event-console:problem:{self.kind.name}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "success": False,
        }
        if self.errors:
            document["field"] = self.errors[0][0]
            document["errors"] = [{"field": name, "problem": problem} for name, problem in self.errors[:MAX_ERRORS]]
        return {**document, **self.members}

    def response(self) -> HttpResponse:
        headers = dict(self.headers)
        if self.kind.retry_after is not None:
            headers["Retry-After"] = str(self.kind.retry_after)
        body = orjson.dumps(self.document())
        return HttpResponse(body, status=self.kind.status, content_type=CONTENT_TYPE, headers=headers)


def problem_of(error: BaseException) -> Problem:
    """The problem that an error means to the client."""
    if isinstance(error, Problem):
        return error
    kind = next(TABLE[each] for each in type(error).__mro__ if each in TABLE)
    if kind is INTERNAL:
        incident = secrets.token_hex(6)
        log.error("request failed, incident %s", incident, exc_info=error)
        return Problem(kind, f"It was logged as incident {incident}", members={"incident": incident})
    members: dict[str, Any] = {}
    if (event_id := getattr(error, "event_id", None)) is not None:
        members["eventId"] = event_id
    if isinstance(error, bus.InvalidEventError | JsonError):
        errors = [(error.field, error.problem)] if error.field else []
        return Problem(kind, str(error), errors, members)
    return Problem(kind, str(error) or kind.title, members=members)


def problem_of_status(status: int, detail: str = "") -> Problem:
    """The problem for a bare HTTP status, as Django's own answers have it."""
    kind = _BY_STATUS.get(status) or Kind(status, f"http-{status}", "The request failed")
    return Problem(kind, detail or kind.title)


def add_handlers(api: NinjaAPI) -> None:
    """Answer every error of the API with a problem document."""
    # 404 has a handler of its own in django-ninja, which would go before that of every Exception.
    for error in (Exception, Http404):
        api.add_exception_handler(error, _any_error)
    api.add_exception_handler(RequestError, _request_error)
    api.add_exception_handler(HttpError, _http_error)


def _any_error(request: HttpRequest, error: Exception | type[Exception]) -> HttpResponse:
    return problem_of(error if isinstance(error, Exception) else error()).response()


def _http_error(request: HttpRequest, error: HttpError | type[HttpError]) -> HttpResponse:
    if isinstance(error, AuthenticationError):
        return unauthorized("Send a token as 'Authorization: Bearer …', or log in").response()
    # django-ninja wraps whatever reading the body raised.
    cause = getattr(error, "__cause__", None)
    if isinstance(cause, JsonError | Problem):
        return problem_of(cause).response()
    return problem_of_status(getattr(error, "status_code", 400), str(error)).response()


def _request_error(request: HttpRequest, error: RequestError | type[RequestError]) -> HttpResponse:
    # django-ninja's loc is ("body", the view's argument, path…), or ("query", name) and the like.
    details = [
        {**detail, "loc": detail["loc"][2 if detail["loc"][0] == "body" else 1 :]}
        for detail in getattr(error, "errors", [])
    ]
    return invalid(details).response()


def invalid(details: Sequence[Mapping[str, Any]], within: str = "") -> Problem:
    """The problem that pydantic's errors mean, their places given from `within`."""
    errors = [_field_error(detail, within) for detail in details]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    name, problem = errors[0]
    return Problem(INVALID, f"{name}: {problem}{more}", errors)


def _field_error(detail: Mapping[str, Any], within: str) -> tuple[str, str]:
    path = [*detail["loc"]]
    if (unknown := detail.get("ctx", {}).get("unknown")) is not None:
        path.append(unknown)
    name = within
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else str(part)
    problem = str(detail["msg"])
    return name or "body", problem[:1].lower() + problem[1:]


def unauthorized(detail: str) -> Problem:
    """401 with the challenge that RFC 6750 asks for."""
    return Problem(UNAUTHORIZED, detail, headers={"WWW-Authenticate": 'Bearer realm="event-console"'})
