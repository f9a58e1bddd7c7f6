"""API tokens: making and revoking them, and knowing them again without asking the database each time."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from django.db.models import Q

from bus.catalog import REPLAY_SUFFIX
from bus.errors import ConfigurationError
from eventconsole.models import ApiToken, Scope

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PREFIX = "evc_"
_SHOWN = len(PREFIX) + 8


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, and what they may do. `topics` are names with wildcards; empty means all."""

    name: str
    scopes: frozenset[str]
    topics: tuple[str, ...] = ()
    expires_at: datetime | None = None
    token_id: int | None = None

    def may_use(self, topic: str) -> bool:
        """Whether the topic is among the caller's.

        A replay topic, named after its group, holds events of all of the group's topics: whoever may use some topics
        only may not use it, whatever their wildcards say.
        """
        if not self.topics:
            return True
        return not topic.endswith(REPLAY_SUFFIX) and any(fnmatchcase(topic, wildcard) for wildcard in self.topics)


def digest_of(token: str) -> str:
    """What of a token is kept."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def create_token(
    name: str,
    scopes: Iterable[str],
    *,
    topics: Iterable[str] = (),
    expires_days: float | None = None,
    created_by: User | None = None,
    now: datetime | None = None,
) -> str:
    """Make a token and return it: the only time that it can be seen.

    `topics` are topic names, `*` in them stands for anything; none means every topic. Raises ConfigurationError for a
    name, scope or lifetime that can't be.
    """
    at = now or datetime.now(UTC)
    wanted = list(dict.fromkeys(str(scope) for scope in scopes))
    if unknown := [scope for scope in wanted if scope not in set(Scope)]:
        raise ConfigurationError(f"scope {unknown[0]!r} given, allowed are {', '.join(Scope)}")
    if not wanted:
        raise ConfigurationError(f"no scope given, allowed are {', '.join(Scope)}")
    if not (0 < len(name) <= 100 and name.isprintable()):
        raise ConfigurationError(f"name {name!r:.120} given, allowed are 1 to 100 printable characters")
    if expires_days is not None and not 0 < expires_days <= 36500:
        raise ConfigurationError(f"{expires_days:g} days given, allowed are more than 0 and at most 36500")
    token = PREFIX + secrets.token_urlsafe(32)
    ApiToken.objects.create(
        name=name,
        prefix=token[:_SHOWN],
        digest=digest_of(token),
        scopes=wanted,
        topics=list(dict.fromkeys(topics)),
        created_at=at,
        created_by=created_by,
        expires_at=None if expires_days is None else at + timedelta(days=expires_days),
    )
    return token


def revoke_tokens(name_or_prefix: str, *, now: datetime | None = None) -> int:
    """Revoke the tokens of that name, or the one with that prefix; returns how many. Takes effect within seconds."""
    found = ApiToken.objects.filter(Q(name=name_or_prefix) | Q(prefix=name_or_prefix[:_SHOWN]), revoked_at=None)
    return found.update(revoked_at=now or datetime.now(UTC))


def load_caller(digest: str) -> Caller | None:
    """The caller with that token, unless it was revoked; asks the database. Expiry is the asker's business."""
    token = ApiToken.objects.filter(digest=digest, revoked_at=None).first()
    if token is None:
        return None
    return Caller(token.name, frozenset(token.scopes), tuple(token.topics), token.expires_at, token.pk)


def note_use(token_id: int, at: datetime) -> None:
    """Write that a token was used."""
    ApiToken.objects.filter(pk=token_id).update(last_used_at=at)
