"""Who may see and do what on pages. The server refuses; that a button is disabled is a courtesy."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from eventconsole.models import Scope

View = TypeVar("View", bound=Callable[..., HttpResponse])


def needs(scope: Scope) -> Callable[[View], View]:
    """Let a view answer only those who have the scope; others get a page that names the missing permission."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            user = request.user
            if not user.has_perm(f"eventconsole.{scope}"):
                return problem(
                    request,
                    403,
                    "Not allowed",
                    f"This page needs the permission “{scope}”, which {user.get_username()} doesn't have.",
                    "An administrator can give it to you, under Users in /admin/.",
                    ("/profile", "Your permissions"),
                )
            return view(request, *args, **kwargs)

        return guarded  # type: ignore[return-value]

    return decorate


def problem(
    request: HttpRequest,
    status: int,
    heading: str,
    what: str,
    remedy: str,
    way_out: tuple[str, str] = ("/", "To the overview"),
) -> HttpResponse:
    """A page for what can't be shown: what happened, and what to do."""
    context = {
        "heading": heading,
        "what": what,
        "remedy": remedy,
        "way_out": way_out[0],
        "way_out_label": way_out[1],
    }
    return render(request, "console/problem.html", context, status=status)
