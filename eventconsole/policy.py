"""What a browser may load and do on our pages: nothing inline, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
#: The API's documentation comes from a library that writes a style into its page.
DOCS_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
_DOCS = "/api/docs"

Answer = Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]


class ContentSecurityPolicy:
    """Middleware that sends the policy with every page that doesn't bring its own."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Answer) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        if self._is_async:
            return self._answer_later(request)
        return _with_policy(request, cast(HttpResponse, self._get_response(request)))

    async def _answer_later(self, request: HttpRequest) -> HttpResponse:
        return _with_policy(request, await cast(Awaitable[HttpResponse], self._get_response(request)))


def _with_policy(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    response.headers.setdefault("Content-Security-Policy", DOCS_POLICY if request.path == _DOCS else POLICY)
    response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    # What the console shows isn't for a shared cache, nor for the browser's after a logout.
    response.headers.setdefault("Cache-Control", "no-store")
    return response
