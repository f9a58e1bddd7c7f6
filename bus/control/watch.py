"""A worker's look at how its groups are steered.

At the start a worker has to know, for it would otherwise begin what is paused, or work in an epoch that is over and
handle events twice. So it waits until somebody can say: Redis, or when that has lost it (or is away) the database.
Later it looks once in a while on a thread of its own. Then the last known state stays while Redis is away or has lost
it: the monitor restores it, and an epoch can't change while the group has members.

A worker must have said that it is alive before it asks (see `bus.control.offsets`): either it sees that offsets are
being reset, or whoever resets them sees it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, connection

from bus.control import store
from bus.errors import LedgerUnavailableError
from bus.ledger.mirror import Mirror, Steering

log = logging.getLogger("bus.consumer")

LOOK_SECONDS = 0.5
"""How often workers look: twice as often as what is promised would need."""


class Watch:
    """What steers the groups of one worker."""

    def __init__(self, mirror: Mirror, load: Callable[[], Steering] = store.load) -> None:
        self._mirror = mirror
        self._load = load

    def learn(self, stopping: threading.Event, say_alive: Callable[[], None]) -> Steering | None:
        """What is so now; waits until somebody can say, and returns None when `stopping` is set before.

        `say_alive` is called before each look: one that was said long ago counts for nothing when somebody who resets
        offsets looks for workers.
        """
        is_reported = False
        while not stopping.is_set():
            say_alive()
            found = self._ask()
            if found is not None:
                return found
            if not is_reported:
                is_reported = True
                log.warning(
                    "steering_unknown waiting: neither Redis nor the database says what is paused, and in which epoch "
                    "each group is; check both, and that manage.py migrate has run"
                )
            stopping.wait(LOOK_SECONDS)
        return None

    def _ask(self) -> Steering | None:
        try:
            if (found := self._mirror.read()) is not None:
                return found
        except LedgerUnavailableError:
            log.debug("steering_not_in_redis")  # the dispatchers report that it is away
        try:
            found = self._load()
        except (DatabaseError, InterfaceError):
            return None
        finally:
            connection.close()
        try:
            self._mirror.write(found)
        except LedgerUnavailableError:
            log.debug("steering_not_mirrored")  # the monitor does it
        return found

    def follow(self, stopping: threading.Event, known: Steering, on_change: Callable[[Steering], None]) -> None:
        """Report what changes until `stopping` is set; the body of a thread."""
        while not stopping.wait(LOOK_SECONDS):
            try:
                found = self._mirror.read()
                if found is not None and found != known:
                    on_change(found)
                    known = found
            except LedgerUnavailableError:
                continue
            except Exception:
                # Whatever it is: without this thread the worker would never hear of a pause again.
                log.exception("steering_not_read and asked again")
