"""Successful answers."""

from __future__ import annotations

import json
from typing import Any

import orjson
from django.http import HttpResponse


def answer(document: Any, *, status: int = 200) -> HttpResponse:
    """A JSON answer.

    Operations return it instead of a model: the models describe answers in the OpenAPI document, and checking each
    answer against them again would cost more than making it.
    """
    try:
        body = orjson.dumps(document)
    except TypeError:
        # Integers beyond 64 bits, as events and what was changed of them may have.
        body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return HttpResponse(body, status=status, content_type="application/json")
