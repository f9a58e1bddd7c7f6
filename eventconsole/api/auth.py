"""Who is calling: a bearer token, or a logged-in session with the CSRF check on what changes something."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from eventconsole.api.errors import FORBIDDEN, Problem, unauthorized
from eventconsole.api.memory import DatabaseThreads, TokenMemory
from eventconsole.api.tokens import Caller
from eventconsole.models import Scope

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@cache
def database_threads() -> DatabaseThreads:
    """The threads on which the API asks the database."""
    return DatabaseThreads(4)


@cache
def token_memory() -> TokenMemory:
    """The tokens that this process remembers."""
    return TokenMemory(database_threads())


async def identify(request: HttpRequest) -> Caller | None:
    """Who is calling, None for nobody. A token goes before a session.

    Raises Problem (401) for a token that isn't good, (403) for a session without its CSRF token, and
    DatabaseUnavailableError when nobody can say.
    """
    given = request.headers.get("Authorization")
    if given is not None:
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthorized("Authorization must be 'Bearer' and a token")
        caller = await token_memory().caller(token.strip())
        if caller is None:
            raise unauthorized("The token is unknown, expired or revoked")
        return caller
    session_key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not session_key:
        return None
    if request.method not in _SAFE and check_csrf(request) is not None:
        raise Problem(FORBIDDEN, "The CSRF check failed: send the csrftoken cookie's value as header X-CSRFToken")
    return await database_threads().ask(lambda: session_caller(request, session_key))


def session_caller(request: HttpRequest, session_key: str) -> Caller | None:
    """Whose session it is, and what they may do now; None when the login ended. Asks the database."""
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = get_user(request)
    if not user.is_authenticated:
        return None
    scopes = frozenset(scope for scope in Scope if user.has_perm(f"eventconsole.{scope}"))
    return Caller(user.get_username(), scopes)


class _Access(AuthBase):
    def __init__(self, scope: Scope | None) -> None:
        self.scope = scope
        super().__init__()

    async def __call__(self, request: HttpRequest) -> Caller | None:
        raise NotImplementedError

    def check(self, caller: Caller | None) -> Caller | None:
        if caller is not None and self.scope is not None and self.scope not in caller.scopes:
            raise Problem(
                FORBIDDEN,
                f"This needs the scope {self.scope}, which {caller.name} doesn't have",
                members={"scope": self.scope},
            )
        return caller


class Token(_Access):
    """A bearer token with a scope."""

    openapi_type = "http"
    openapi_scheme = "bearer"

    async def __call__(self, request: HttpRequest) -> Caller | None:
        return self.check(await identify(request)) if "Authorization" in request.headers else None


class Session(_Access):
    """A logged-in session of somebody with a scope."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = settings.SESSION_COOKIE_NAME

    async def __call__(self, request: HttpRequest) -> Caller | None:
        return self.check(await identify(request))


def needs(scope: Scope | None = None) -> list[Any]:
    """What an operation asks for: a token or a session, with that scope when one is named."""
    return [Token(scope), Session(scope)]


def caller_of(request: HttpRequest) -> Caller:
    """Who was let in."""
    caller = getattr(request, "auth", None)
    if not isinstance(caller, Caller):
        raise unauthorized("Send a token as 'Authorization: Bearer …', or log in")
    return caller
