"""The inbox: a handler's database work and the note that its event is done, committed together or not at all.

The note is written first. Its unique key makes a second worker that was given the same event wait for the first one's
transaction, and then know: handled, or not.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.db import DatabaseError, IntegrityError, InterfaceError, connection, transaction
from django.utils import timezone

from bus.errors import DatabaseUnavailableError
from bus.models import InboxEntry


def handle_once(group: str, event_id: str, generation: int, handle: Callable[[], None]) -> bool:
    """Run `handle` and note the event as done in one transaction; False when it was done before.

    What `handle` raises rolls everything back and is raised. An error of the commit itself leaves open whether it
    happened; ask `is_handled` before counting it as a failure. Raises DatabaseUnavailableError when the note can't be
    written: then `handle` hasn't run.
    """
    noted = False
    try:
        with transaction.atomic():
            try:
                with transaction.atomic():
                    InboxEntry.objects.create(group=group, event_id=event_id, generation=generation)
            except IntegrityError:
                return False
            noted = True
            handle()
    except (DatabaseError, InterfaceError) as error:
        if noted:
            raise
        raise DatabaseUnavailableError(f"the inbox can't be written: {error}") from error
    return True


def is_handled(group: str, event_id: str, generation: int) -> bool:
    """Whether the event's work is committed. Raises DatabaseUnavailableError when the database can't say."""
    try:
        return InboxEntry.objects.filter(group=group, event_id=event_id, generation=generation).exists()
    except (DatabaseError, InterfaceError) as error:
        raise DatabaseUnavailableError(f"the database can't be asked about {event_id}: {error}") from error


def is_database_away() -> bool:
    """Whether the database, or this thread's connection to it, is broken: then its error says nothing about the event.

    A broken connection is closed, so that the next event begins with a new one.
    """
    try:
        # A table, because a constant is answered by SQLite without a look at its file.
        InboxEntry.objects.exists()
    except (DatabaseError, InterfaceError):
        connection.close()
        return True
    return False


def prune(older_than: timedelta) -> int:
    """Forget events that can't come back any more; returns how many."""
    deleted, _ = InboxEntry.objects.filter(handled_at__lt=timezone.now() - older_than).delete()
    return deleted
