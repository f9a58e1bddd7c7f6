"""What a monitor would have written, by hand: groups, samples, a cluster, error groups."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bus.models import ClusterState, ErrorGroup, ErrorGroupPlace, GroupState, Lease, RecordingPosition, Sample


def now() -> datetime:
    return datetime.now(UTC)


def monitor_runs() -> None:
    Lease.objects.update_or_create(
        name="monitor", defaults={"owner": "host-1-abc", "expires_at": now() + timedelta(minutes=5)}
    )
    ClusterState.objects.update_or_create(
        pk=1, defaults={"cluster_id": "abc", "brokers": [{"id": 1, "host": "k", "port": 9092}], "asked_at": now()}
    )
    RecordingPosition.objects.update_or_create(name="activity", defaults={"read_at": now()})


def partition(topic: str = "order.created", number: int = 0, lag: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "topic": topic,
        "partition": number,
        "end": 1000 + lag,
        "committed": 1000,
        "lag": lag,
        "timeLag": 0.0,
        "rate": 1.5,
        "trend": "steady",
        "worker": "host-1-aaa",
        "inHand": 0,
        "waits": None,
        **more,
    }


def group(name: str, **more: Any) -> GroupState:
    fields: dict[str, Any] = {
        "is_ours": True,
        "state": "stable",
        "members": 1,
        "workers": 1,
        "topics": ["order.created"],
        "partition_count": 1,
        "time_lag_seconds": 0.0,
        "sampled_at": now(),
        "sparkline": [0, 1, 3, 2],
        "partitions": [partition()],
        **more,
    }
    return GroupState.objects.create(name=name, **fields)


def many_groups(count: int = 10_000, partitions: int = 10, ours: int = 20) -> None:
    """Ten thousand groups of ten partitions each; the first ones are ours."""
    at = now()
    parts = [partition(number=number, lag=number * 3) for number in range(partitions)]
    GroupState.objects.bulk_create(
        [
            GroupState(
                name=f"group-{number:05}",
                is_ours=number < ours,
                state="stable",
                members=2,
                workers=2 if number < ours else 0,
                topics=["order.created", "payment.failed"],
                partition_count=partitions,
                lag=number % 977,
                time_lag_seconds=(number % 311) / 7 if number % 3 else None,
                rate=number % 13,
                trend="growing" if number % 5 == 0 else "steady",
                sampled_at=at,
                sparkline=list(range(60)),
                partitions=parts,
                reason="3 partitions wait for retries of SmtpError" if number % 50 == 0 else "",
            )
            for number in range(count)
        ],
        batch_size=500,
    )


def samples(
    series: str, values: dict[str, float], *, step: int = 5, count: int = 180, until: datetime | None = None
) -> None:
    """The same values at each step up to now."""
    end = (until or now()).timestamp()
    last = int(end - end % step) - step
    Sample.objects.bulk_create(
        [
            Sample(series=series, step=step, at=datetime.fromtimestamp(last - number * step, UTC), values=values)
            for number in range(count)
        ],
        batch_size=500,
    )


def error_group(
    name: str, *, age: timedelta = timedelta(minutes=1), open_letters: int = 3, message: str = "refused"
) -> ErrorGroup:
    place = {"topic": "order.created", "group": "notification-service-group"}
    ErrorGroupPlace.objects.create(fingerprint=name, open=open_letters, **place)
    return ErrorGroup.objects.create(
        fingerprint=name,
        error_type="SmtpError",
        message=message,
        first_seen_at=now() - age,
        last_seen_at=now(),
        open=open_letters,
    )
