"""Callers remembered from their tokens, so that the API neither asks the database at each call nor stops without it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, connections

from bus.errors import DatabaseUnavailableError
from eventconsole.api import tokens
from eventconsole.api.tokens import Caller

log = logging.getLogger(__name__)
T = TypeVar("T")

#: A revoked token is refused at the latest after this many seconds.
FRESH_SECONDS = 5.0
#: While the database is away, a token is good for this long after it was last looked up.
GOOD_SECONDS = 60.0
#: `last_used_at` is written at most this often.
NOTE_SECONDS = 60.0
#: The database may take this long to say who a token belongs to.
LOOKUP_SECONDS = 2.0
CAPACITY = 10_000


class DatabaseThreads:
    """A few threads for short questions to the database, so that a hanging one holds up no other work."""

    def __init__(self, size: int) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="console-database")

    def submit(self, ask: Callable[[], T]) -> Future[T]:
        """Run `ask` on one of the threads."""
        return self._pool.submit(_with_connection, ask)

    def close(self, *, wait: bool = True) -> None:
        """End the threads once they have done what they were given. Without `wait` nobody waits for that."""
        self._pool.shutdown(wait=wait, cancel_futures=not wait)

    async def ask(self, ask: Callable[[], T], timeout: float = LOOKUP_SECONDS) -> T:
        """The answer of `ask`. Raises DatabaseUnavailableError when there is none in `timeout` seconds."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self.submit(ask)), timeout)
        except TimeoutError:
            raise DatabaseUnavailableError(f"the database gave no answer within {timeout:g} s") from None
        except (DatabaseError, InterfaceError) as error:
            raise DatabaseUnavailableError(f"the database can't be used: {error}") from error


def _with_connection(ask: Callable[[], T]) -> T:
    # The connection isn't kept: these threads may rest for hours, and a database that was restarted meanwhile would
    # make the first call after that fail.
    try:
        return ask()
    finally:
        connections.close_all()


@dataclass(slots=True)
class _Memory:
    caller: Caller
    confirmed_at: float
    asked_at: float
    noted_at: float


class TokenMemory:
    """Who the tokens of the last minute belong to. Clocks and database come in."""

    def __init__(
        self,
        threads: DatabaseThreads,
        *,
        load: Callable[[str], Caller | None] = tokens.load_caller,
        note: Callable[[int, datetime], None] = tokens.note_use,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        timeout: float = LOOKUP_SECONDS,
    ) -> None:
        self._threads = threads
        self._load = load
        self._note = note
        self._monotonic = monotonic
        self._now = now
        self._timeout = timeout
        self._memories: OrderedDict[str, _Memory] = OrderedDict()

    async def caller(self, token: str) -> Caller | None:
        """Whom the token belongs to, None when it is unknown, expired or revoked.

        Raises DatabaseUnavailableError when the database is away and the token wasn't seen in the last minute.
        """
        digest = tokens.digest_of(token)
        memory = self._memories.get(digest)
        if memory is None or self._monotonic() - memory.asked_at > FRESH_SECONDS:
            memory = await self._ask(digest, memory)
        if memory is None or (memory.caller.expires_at is not None and memory.caller.expires_at <= self._now()):
            return None
        self._note_use(memory)
        return memory.caller

    async def _ask(self, digest: str, memory: _Memory | None) -> _Memory | None:
        at = self._monotonic()
        if memory is not None:
            # Set before asking: calls that come meanwhile go by memory instead of asking as well.
            memory.asked_at = at
        try:
            caller = await self._threads.ask(lambda: self._load(digest), self._timeout)
        except DatabaseUnavailableError:
            if memory is None or at - memory.confirmed_at > GOOD_SECONDS:
                self._memories.pop(digest, None)
                raise
            return memory
        if caller is None:
            self._memories.pop(digest, None)
            return None
        noted_at = memory.noted_at if memory else at - NOTE_SECONDS
        memory = self._memories[digest] = _Memory(caller, at, at, noted_at)
        while len(self._memories) > CAPACITY:
            self._memories.popitem(last=False)
        return memory

    def _note_use(self, memory: _Memory) -> None:
        at = self._monotonic()
        if at - memory.noted_at < NOTE_SECONDS or memory.caller.token_id is None:
            return
        memory.noted_at = at
        token_id, now = memory.caller.token_id, self._now()
        # Nobody waits for it, and when it fails nothing but a date in a list is older than it could be.
        written = self._threads.submit(lambda: self._note(token_id, now))
        written.add_done_callback(_log_failure)


def _log_failure(written: Future[None]) -> None:
    if (error := written.exception()) is not None:
        log.warning("last use of a token not noted: %s", error)
