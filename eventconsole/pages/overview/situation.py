"""What is known at one moment, gathered once for the sentence, the figures and the tables of the overview.

A handful of queries for small tables, and what this process saw of Kafka and Redis: never a question to Kafka.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import Max, Min, Sum
from django.db.models.functions import Greatest

from bus import conf, handlers
from bus.lag.pages import GroupSort, StateFilter, group_page
from bus.models import ClusterState, ErrorGroup, ErrorGroupPlace, GroupState, IndexPosition, Lease, RecordingPosition
from bus.presence import WorkerPresence
from eventconsole import addresses
from eventconsole.pages import pauses, sight
from eventconsole.pages.pauses import Pause
from eventconsole.pages.sight import RedisSeen, Seen
from eventconsole.pages.workers import standing
from eventconsole.pages.workers.standing import Standing

SHOWN_GROUPS = 12
SHOWN_ERRORS = 6
NEW_FOR = timedelta(minutes=15)
"""An error group is new for so long."""


@dataclass(frozen=True, slots=True)
class NewError:
    """An error group and where most of it happened."""

    group: ErrorGroup
    places: tuple[ErrorGroupPlace, ...]
    is_new: bool

    @property
    def title(self) -> str:
        """Its type and message."""
        return ": ".join(part for part in (self.group.error_type, self.group.message) if part) or "without a name"

    @property
    def url(self) -> str:
        """Its dead letters."""
        return addresses.dead_letters_url(fingerprint=self.group.pk)


@dataclass(frozen=True, slots=True)
class IndexState:
    """How many dead letters the index is behind Kafka, as of when; None: it has never looked."""

    behind: int
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that the overview judges by. Groups are our own, those that are longest behind first."""

    now: datetime
    settings: conf.BusSettings
    kafka: Seen[float]
    redis: Seen[RedisSeen]
    unfit: tuple[str, ...]
    cluster: ClusterState | None
    monitor: Lease | None
    recorded_at: datetime | None
    index: IndexState
    groups: tuple[GroupState, ...]
    consuming: frozenset[str]
    standings: tuple[Standing, ...]
    errors: tuple[NewError, ...]
    open_letters: int
    pauses: tuple[Pause, ...]

    @property
    def workers(self) -> tuple[WorkerPresence, ...]:
        """Workers that are alive, late ones included."""
        return tuple(each.worker for each in self.standings if not each.is_gone)

    @property
    def monitor_runs(self) -> bool:
        """Whether some monitor holds the lease."""
        return self.monitor is not None and bool(self.monitor.owner) and self.monitor.expires_at >= self.now

    @property
    def sampled_at(self) -> datetime | None:
        """When lag was sampled last: the oldest of the groups that are shown."""
        return min((group.sampled_at for group in self.groups), default=None)

    @property
    def lag(self) -> int:
        """Events that our own groups are behind, of those shown."""
        return sum(group.lag for group in self.groups)


def gather(now: datetime | None = None) -> Situation:
    """Look at everything. Raises Django's DatabaseError."""
    settings = conf.current()
    now = now or datetime.now(UTC)
    redis = sight.redis.see()
    workers = redis.value.workers if redis.value else ()
    # While Redis is away, nobody is late: nobody could say that he is there.
    heard_at = redis.at if redis.is_away and redis.at else now.timestamp()
    groups = group_page(StateFilter(is_ours=True), SHOWN_GROUPS, sort=GroupSort.TIME_LAG).rows
    return Situation(
        now=now,
        settings=settings,
        kafka=sight.kafka.see(),
        redis=redis,
        unfit=sight.redis_fitness.see().value or (),
        cluster=ClusterState.objects.first(),
        monitor=Lease.objects.filter(name="monitor").first(),
        recorded_at=RecordingPosition.objects.aggregate(at=Max("read_at"))["at"],
        index=_index(),
        groups=tuple(groups),
        consuming=frozenset(handlers.registry.groups()),
        standings=tuple(standing.all_of(workers, heard_at, settings)),
        errors=tuple(_errors(now)),
        open_letters=ErrorGroup.objects.aggregate(open=Sum("open"))["open"] or 0,
        pauses=tuple(pauses.all_pauses()),
    )


def _index() -> IndexState:
    found = IndexPosition.objects.aggregate(
        ends=Sum("end_offset"), nexts=Sum(Greatest("next_offset", "first_offset")), at=Min("seen_at")
    )
    return IndexState(max(0, (found["ends"] or 0) - (found["nexts"] or 0)), found["at"])


def _errors(now: datetime) -> list[NewError]:
    """The newest kinds of errors that have open dead letters; those that are new come first anyway."""
    groups = list(ErrorGroup.objects.filter(open__gt=0).order_by("-first_seen_at", "-fingerprint")[:SHOWN_ERRORS])
    places: dict[str, list[ErrorGroupPlace]] = {}
    found = ErrorGroupPlace.objects.filter(fingerprint__in=[group.pk for group in groups], open__gt=0)
    for place in found.order_by("-open", "topic", "group")[:200]:
        places.setdefault(place.fingerprint, []).append(place)
    return [
        NewError(group, tuple(places.get(group.pk, ())[:3]), group.first_seen_at >= now - NEW_FOR) for group in groups
    ]
