"""The ASGI application: the API and the pages, each with a middleware chain of its own, sockets, and static files."""

from __future__ import annotations

import os
from importlib import import_module

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "eventconsole.settings")

# Sets Django up, so it comes before whatever imports models.
pages = get_asgi_application()

from django.conf import settings  # noqa: E402

from eventconsole.api.asgi import ApiHandler, Receive, Scope, Send  # noqa: E402
from eventconsole.live.sockets import LiveSocket  # noqa: E402
from eventconsole.static import StaticFiles  # noqa: E402

# Pages register their rooms when they are imported, and so does the rail around them. After a restart the sockets of
# pages that were open before come back before anybody asks for a page.
import_module(settings.ROOT_URLCONF)
import_module("eventconsole.pages.navigation")

api = ApiHandler()
static = StaticFiles()
live = LiveSocket.as_asgi()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Send each connection where it belongs. The API's documentation is a page: it asks for a login."""
    if scope["type"] == "websocket" and scope["path"] == "/ws/live":
        await live(scope, receive, send)
    elif scope["type"] == "websocket":
        # A handshake that is closed instead of accepted is refused.
        await receive()
        await send({"type": "websocket.close", "code": 4404})
    elif scope["path"].startswith("/api/") and scope["path"] != "/api/docs":
        await api(scope, receive, send)
    elif scope["path"].startswith(settings.STATIC_URL):
        await static(scope, receive, send)
    else:
        await pages(scope, receive, send)
