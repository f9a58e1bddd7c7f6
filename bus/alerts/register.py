"""What began and what ended, remembered in the database: a monitor that takes over tells nothing twice."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Q

from bus.alerts.conditions import Condition
from bus.models import Alert

_FIRST_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 900.0
_KEPT: Final = timedelta(days=7)


def standing() -> frozenset[str]:
    """Keys of what was wrong at the last look."""
    return frozenset(Alert.objects.filter(ended_at=None).values_list("key", flat=True))


def note(found: Iterable[Condition], now: datetime) -> None:
    """Write down what is wrong now: what is new begins, what isn't there any more has ended."""
    current = {each.key: each for each in found}
    with transaction.atomic():
        known = {alert.key: alert for alert in Alert.objects.filter(Q(ended_at=None) | Q(key__in=current))}
        for key, each in current.items():
            alert = known.get(key)
            if alert is None or alert.ended_at is not None:
                Alert.objects.update_or_create(
                    key=key,
                    defaults={
                        "kind": each.kind,
                        "subject": each.subject[:249],
                        "summary": each.summary,
                        "began_at": now,
                        "ended_at": None,
                        # One that came back before its end was told isn't told as new: the receiver knows it began.
                        "told": alert.told if alert and alert.told == Alert.Told.BEGUN else Alert.Told.NOTHING,
                        "failed_times": 0,
                        "next_try_at": None,
                        "error": "",
                    },
                )
            elif each.summary and alert.summary != each.summary:
                Alert.objects.filter(key=key).update(summary=each.summary)
        gone = [key for key, alert in known.items() if alert.ended_at is None and key not in current]
        Alert.objects.filter(key__in=gone).update(ended_at=now, failed_times=0, next_try_at=None)
        # What began and ended between two tries is nobody's business any more.
        Alert.objects.filter(key__in=gone, told=Alert.Told.NOTHING).update(told=Alert.Told.ENDED)
        Alert.objects.filter(told=Alert.Told.ENDED, ended_at__lt=now - _KEPT).delete()


def untold(now: datetime, limit: int = 20) -> list[Alert]:
    """What the receiver doesn't know yet and may be told now, the oldest first."""
    begun = Q(ended_at=None, told=Alert.Told.NOTHING)
    ended = Q(ended_at__isnull=False, told=Alert.Told.BEGUN)
    due = Q(next_try_at=None) | Q(next_try_at__lte=now)
    return list(Alert.objects.filter(begun | ended, due).order_by("began_at", "key")[:limit])


def told(alert: Alert) -> None:
    """The receiver knows; unless it changed meanwhile, in which case it is told again."""
    state = Alert.Told.BEGUN if alert.ended_at is None else Alert.Told.ENDED
    Alert.objects.filter(key=alert.key, began_at=alert.began_at, ended_at=alert.ended_at).update(
        told=state, failed_times=0, next_try_at=None, error=""
    )


def not_told(alert: Alert, error: str, now: datetime) -> None:
    """It couldn't be told; again after a pause that doubles up to a quarter of an hour."""
    pause = min(_FIRST_PAUSE * 2 ** min(alert.failed_times, 12), _LONGEST_PAUSE)
    Alert.objects.filter(key=alert.key).update(
        failed_times=alert.failed_times + 1, next_try_at=now + timedelta(seconds=pause), error=error[:500]
    )
