"""The API put together."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from ninja import NinjaAPI
from ninja.openapi.docs import Swagger
from ninja.parser import Parser
from ninja.responses import Response

from eventconsole.api import (
    dead_letter_summaries,
    dead_letters,
    errors,
    events,
    groups,
    health,
    metrics,
    replays,
    states,
    topics,
)
from eventconsole.api.auth import needs
from eventconsole.api.errors import NOT_JSON, Problem, problem_of_status
from eventconsole.api.exact_json import parse


class ExactParser(Parser):
    """Reads bodies without changing them."""

    def parse_body(self, request: HttpRequest) -> Any:
        kind = (request.content_type or "").lower()
        if kind and kind != "application/json" and not kind.endswith("+json"):
            raise Problem(NOT_JSON, f"Content-Type is {kind:.100}; send application/json")
        return parse(request.body)


api = NinjaAPI(
    title="Event Console",
    description="Publish events to Kafka, and see what became of them.",
    parser=ExactParser(),
    urls_namespace="api",
    # Both are served below: ninja's own answer anyone.
    openapi_url=None,
    docs_url=None,
)
errors.add_handlers(api)
# States last: their address takes any eventId, the publish addresses would do for one.
api.add_router("/events", events.router)
api.add_router("/events", states.router)
api.add_router("/dead-letters", replays.letters)
api.add_router("/replays", replays.router)
api.add_router("/dead-letters", dead_letter_summaries.letters)
api.add_router("/dead-letters", dead_letters.letters)
api.add_router("/dead-letter-groups", dead_letter_summaries.groups)
api.add_router("/dead-letter-groups", dead_letters.groups)
api.add_router("/dead-letter-index", dead_letters.index)
api.add_router("/groups", groups.router)
api.add_router("/topics", topics.router)
api.add_router("/metrics", metrics.router)
api.add_router("/health", health.router)


@api.get("/openapi.json", include_in_schema=False, auth=needs(), url_name="openapi")
async def openapi(request: HttpRequest) -> HttpResponse:
    """The OpenAPI document."""
    return Response(api.get_openapi_schema())


def docs(request: HttpRequest) -> HttpResponse:
    """The OpenAPI document to read and to try out. A page: it asks for a login."""
    swagger = {**Swagger.default_settings, "url": reverse("api:openapi")}
    # Through the template that ninja ships for its own static files: no script from elsewhere, none inline.
    context = {"swagger_settings": json.dumps(swagger), "api": api, "add_csrf": True}
    return render(request, Swagger.template, context)


@login_not_required
async def not_found(request: HttpRequest, **kwargs: Any) -> HttpResponse:
    """404 as a problem document for whatever else is under the API's address."""
    return problem_of_status(404, f"There is nothing at {request.path:.200}").response()


def _without_login(patterns: list[Any]) -> list[Any]:
    # The API answers 401 itself; a redirect to the login page helps no program.
    for pattern in patterns:
        login_not_required(pattern.callback)
    return patterns


_patterns, _app_name, _namespace = api.urls
urlpatterns = [
    path("docs", docs, name="api-docs"),
    path("", (_without_login(_patterns), _app_name, _namespace)),
    path("<path:rest>", not_found),
]
