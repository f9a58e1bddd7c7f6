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
    happened; ask `is_handled` before counting it as a failure.
    """
    with transaction.atomic():
        try:
            with transaction.atomic():
                InboxEntry.objects.create(group=group, event_id=event_id, generation=generation)
        except IntegrityError:
            return False
        handle()
    return True


def is_handled(group: str, event_id: str, generation: int) -> bool:
    """Whether the event's work is committed. Raises DatabaseUnavailableError when the database can't say."""
    try:
        return InboxEntry.objects.filter(group=group, event_id=event_id, generation=generation).exists()
    except (DatabaseError, InterfaceError) as error:
        raise DatabaseUnavailableError(f"the database can't be asked about {event_id}: {error}") from error


def is_database_away() -> bool:
    """Whether the database fails to answer at all, so that an error of it says nothing about the event."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError):
        try:
            connection.close()
            connection.ensure_connection()
        except (DatabaseError, InterfaceError):
            return True
    return False


def prune(older_than: timedelta) -> int:
    """Forget events that can't come back any more; returns how many."""
    deleted, _ = InboxEntry.objects.filter(handled_at__lt=timezone.now() - older_than).delete()
    return deleted
