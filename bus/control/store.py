"""What the database says about the steering of groups, and the way from there to the mirror in Redis.

A change and its audit entry are one transaction, in which the version grows; then the mirror is written. What happens
when it can't be is the monitor's affair (`restore`): the change stands, and is told to workers when Redis is back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F

from bus.errors import LedgerUnavailableError
from bus.ledger.mirror import Mirror, Steering
from bus.models import AuditEntry, GroupEpoch, GroupPause, SteeringVersion

log = logging.getLogger("bus.control")

PAUSE, RESUME = "group.pause", "group.resume"
RESET_SECONDS = 120.0
"""A reset of offsets takes seconds. One that was begun so long ago was left by its process."""
_THE_ONE = 1


def load() -> Steering:
    """What the database says. Raises Django's DatabaseError and InterfaceError."""
    with transaction.atomic():
        # The version first: what is read after it may be newer than it says, never older.
        version = SteeringVersion.objects.filter(pk=_THE_ONE).values_list("number", flat=True).first() or 0
        pauses = frozenset(GroupPause.objects.values_list("group", "topic"))
        epochs = dict(GroupEpoch.objects.filter(number__gt=0).values_list("group", "number"))
        resets = frozenset(GroupEpoch.objects.exclude(resetting_since=None).values_list("group", flat=True))
    return Steering(version, pauses, epochs, resets)


@contextmanager
def change() -> Iterator[None]:
    """A transaction that changes how groups are steered. Others of its kind wait for it."""
    with transaction.atomic():
        _raise_version()
        yield


def tell(mirror: Mirror) -> int | None:
    """Mirror what the database says now, and return its version; None when Redis is away: the monitor does it later."""
    told = load()
    try:
        mirror.write(told)
    except LedgerUnavailableError as error:
        log.warning("steering_not_mirrored workers hear of it when Redis is back: %s", error)
        return None
    return told.version


def restore(mirror: Mirror, now: datetime | None = None) -> bool:
    """Make the mirror what the database says; whether anything was changed.

    Raises LedgerUnavailableError, and Django's DatabaseError and InterfaceError.
    """
    at = now or datetime.now(UTC)
    wanted, found = _settled(at), mirror.read()
    if found is not None and found.version > wanted.version:
        wanted = load()
        if found.version > wanted.version:
            wanted = _catch_up(found)
    is_restored = found != wanted and mirror.write(wanted)
    if is_restored:
        log.info("steering_restored version %s", wanted.version)
        finish_told(wanted.version, at)
    return is_restored


def finish_told(version: int, at: datetime) -> int:
    """Close the audit entries of changes that are in the mirror by now; returns how many."""
    open_ones = AuditEntry.objects.filter(
        what__in=[PAUSE, RESUME], outcome=AuditEntry.Outcome.INTENT, detail__version__lte=version
    )
    return open_ones.update(outcome=AuditEntry.Outcome.DONE, changed=1, finished_at=at)


def current_version() -> int:
    """The version of the transaction that is open."""
    return SteeringVersion.objects.get(pk=_THE_ONE).number


def _settled(now: datetime) -> Steering:
    """What the database says, without resets whose process is gone: nobody would ever end them."""
    left = GroupEpoch.objects.filter(resetting_since__lt=now - timedelta(seconds=RESET_SECONDS))
    if left.exists():
        with change():
            left.update(resetting_since=None)
    return load()


def _catch_up(found: Steering) -> Steering:
    """The mirror is newer: the database was put back to an older state. Its pauses count, but no epoch goes back.

    In an older epoch the ledger would know events as handled that aren't, and forget those that are.
    """
    log.warning("steering_went_back the database is older than version %s, which Redis has", found.version)
    with transaction.atomic():
        SteeringVersion.objects.update_or_create(pk=_THE_ONE, defaults={"number": found.version + 1})
        for group, number in found.epochs.items():
            row, _ = GroupEpoch.objects.get_or_create(group=group)
            if row.number < number:
                row.number = number
                row.save(update_fields=["number"])
    return load()


def _raise_version() -> None:
    mine = SteeringVersion.objects.filter(pk=_THE_ONE)
    if mine.update(number=F("number") + 1):
        return
    try:
        with transaction.atomic():
            SteeringVersion.objects.create(pk=_THE_ONE, number=1)
    except IntegrityError:  # somebody else was first
        mine.update(number=F("number") + 1)
