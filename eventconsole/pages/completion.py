"""Completion of filter fields: what `static/js/filter.js` asks while somebody types."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest, JsonResponse

from eventconsole.filters import MAX_LENGTH, FilterProblem, Language

#: `values(field, beginning)` knows values that the language's fields don't.
Values = Callable[[str, str], Iterable[str]]


def complete(request: HttpRequest, language: Language[Any], values: Values | None = None) -> JsonResponse:
    """Suggestions for `?text=…&cursor=…`, and what is wrong with the text, if anything."""
    text = request.GET.get("text", "")[: MAX_LENGTH + 1]
    given = request.GET.get("cursor", "")
    cursor = int(given) if given.isdecimal() and len(given) < 6 else len(text)
    problem: str | None = None
    try:
        language.parse(text)
    except FilterProblem as error:
        problem = str(error)
    found = language.complete(text, cursor, values)
    return JsonResponse({"suggestions": [each._asdict() for each in found], "problem": problem})
