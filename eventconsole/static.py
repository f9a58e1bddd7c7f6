"""Static files, straight from ASGI: whitenoise finds, compresses and ages them, but as Django middleware it reads each
file whole under ASGI, and warns about it."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any, BinaryIO, cast

from django.http import HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]
from whitenoise.responders import Response  # type: ignore[import-untyped]

from eventconsole.api.asgi import Receive, Scope, Send

_CHUNK = 64 * 1024
_NOT_FOUND = Response(404, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "10")], None)


class StaticFiles:
    """Answers requests for static files, to anyone."""

    def __init__(self) -> None:
        self._files = WhiteNoiseMiddleware(lambda request: HttpResponse(status=404))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await asyncio.to_thread(self._find, scope)
        headers = [(name.lower().encode("latin-1"), str(value).encode("latin-1")) for name, value in response.headers]
        await send({"type": "http.response.start", "status": int(response.status), "headers": headers})
        if response.file is not None:
            with closing(cast(BinaryIO, response.file)) as file:
                while chunk := await asyncio.to_thread(file.read, _CHUNK):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"not found\n" if response is _NOT_FOUND else b""})

    def _find(self, scope: Scope) -> Response:
        path = scope["path"]
        found = self._files.find_file(path) if self._files.autorefresh else self._files.files.get(path)
        if found is None:
            return _NOT_FOUND
        environment: dict[str, Any] = {
            f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}": value.decode("latin-1")
            for name, value in scope["headers"]
        }
        return cast(Response, found.get_response(scope["method"], environment))
