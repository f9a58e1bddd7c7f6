"""The API's own way through Django: its requests don't pay for the middleware of the pages.

Sessions, messages, CSRF and the signals around a request each cost a change of threads or more; together three
quarters of the throughput.
"""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.urls import set_script_prefix, set_urlconf

from eventconsole import conf
from eventconsole.api.errors import CONTENT_TYPE, TOO_LARGE, Problem, problem_of_status

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Answering = Callable[[HttpRequest], Awaitable[HttpResponse]]


class ApiHandler(ASGIHandler):
    """Answers requests to the API. Its whole middleware is CORS; logins and tokens are checked by each operation."""

    def load_middleware(self, is_async: bool = False) -> None:
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        view = cast(Answering, convert_exception_to_response(self._get_response_async))  # type: ignore[attr-defined]
        self._answer = cast(Answering, convert_exception_to_response(CorsMiddleware(view)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        set_script_prefix(get_script_prefix(scope))
        set_urlconf(settings.ROOT_URLCONF)
        try:
            body = await read_body(scope, receive, conf.current().max_body_bytes)
        except RequestAborted:
            return
        except Problem as problem:
            await self.send_response(_finished(problem.response()), send)
            return
        try:
            request = ASGIRequest(scope, io.BytesIO(body))
        except UnicodeDecodeError:
            await self.send_response(_finished(problem_of_status(400, "The path is not UTF-8").response()), send)
            return
        request._body = body
        response = _finished(await self._answer(request))
        if request.method == "HEAD":
            response.content = b""
        await self.send_response(response, send)


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The request's body. Raises Problem (413) as soon as it is known to be over `limit` bytes."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestAborted
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_large(limit: int) -> Problem:
    return Problem(TOO_LARGE, f"The body is over {limit} bytes (BUS_MAX_BODY_BYTES); send fewer or smaller events")


def _finished(response: HttpResponse) -> HttpResponse:
    """The response with the headers that every answer has; Django's own error pages become problem documents."""
    if response.status_code >= 400 and response["Content-Type"] not in (CONTENT_TYPE, "application/json"):
        allow = response.get("Allow")
        response = problem_of_status(response.status_code).response()
        if allow is not None:
            response["Allow"] = allow
    response["Content-Length"] = str(len(response.content))
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    if settings.SECURE_HSTS_SECONDS:
        response["Strict-Transport-Security"] = f"max-age={settings.SECURE_HSTS_SECONDS}"
    return response
