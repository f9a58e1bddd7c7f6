"""Successful answers."""

from __future__ import annotations

from typing import Any

import orjson
from django.http import HttpResponse


def answer(document: Any, *, status: int = 200) -> HttpResponse:
    """A JSON answer.

    Operations return it instead of a model: the models describe answers in the OpenAPI document, and checking each
    answer against them again would cost more than making it.
    """
    return HttpResponse(orjson.dumps(document), status=status, content_type="application/json")
