"""What the queries of addresses have in common."""

from __future__ import annotations

from django.http import HttpRequest
from pydantic import BaseModel

from eventconsole.api.errors import INVALID, Problem


def refuse_unknown(request: HttpRequest, query: type[BaseModel]) -> None:
    """Raise Problem for a parameter that `query` doesn't know.

    A misspelt filter that is ignored would show, or change, more than was meant.
    """
    allowed = [field.alias or name for name, field in query.model_fields.items()]
    unknown = [name for name in request.GET if name not in allowed]
    if unknown:
        problems = [(name, f"unknown; allowed are {', '.join(allowed)}") for name in unknown]
        raise Problem(INVALID, f"{unknown[0]!r:.100}: {problems[0][1]}", problems)
