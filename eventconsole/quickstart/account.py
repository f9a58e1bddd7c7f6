"""The login and the token that the quickstart makes, and makes only once per folder."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from django.contrib.auth.models import User

from bus.embedded.readiness import write_private
from eventconsole.api import tokens
from eventconsole.models import Scope

_TOKEN_NAME = "quickstart"
_USERNAMES = ("admin", "quickstart-admin")


@dataclass(frozen=True, slots=True)
class Account:
    """An administrator, and a token with every scope."""

    username: str
    password: str
    token: str


def provide(folder: Path) -> Account:
    """The folder's account: the one made before where it still works, so that logins and scripts survive a restart.

    An administrator of that name whom the folder doesn't know isn't touched: then it is made under another name.
    """
    kept = _read(folder / "account.json")
    username, password = _login(kept)
    account = Account(username, password, _token(kept))
    write_private(folder / "account.json", json.dumps(asdict(account)))
    return account


def _login(kept: Account | None) -> tuple[str, str]:
    if kept:
        user = User.objects.filter(username=kept.username, is_active=True, is_superuser=True).first()
        if user and user.check_password(kept.password):
            return kept.username, kept.password
    password = secrets.token_urlsafe(12)
    known = {kept.username} if kept else set()
    for username in _USERNAMES:
        if username in known or not User.objects.filter(username=username).exists():
            break
    user, _ = User.objects.get_or_create(username=username)
    user.is_active = user.is_staff = user.is_superuser = True
    user.set_password(password)
    user.save()
    return username, password


def _token(kept: Account | None) -> str:
    if kept:
        caller = tokens.load_caller(tokens.digest_of(kept.token))
        if caller and caller.scopes == frozenset(Scope):
            return kept.token
    tokens.revoke_tokens(_TOKEN_NAME)
    return tokens.create_token(_TOKEN_NAME, list(Scope))


def _read(path: Path) -> Account | None:
    try:
        return Account(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
