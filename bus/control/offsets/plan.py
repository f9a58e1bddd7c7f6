"""What a reset of a group's offsets would do: before and after per partition, and what would be skipped.

A group that reads events again handles none of them twice: the ledger knows those that are done, and they are skipped.
Who wants them handled again asks for a new epoch of the group, in which the ledger knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple

from bus import conf
from bus.control.offsets.sample import Sample, sample
from bus.control.pauses import own_groups, topics_of
from bus.errors import BrokerUnavailableError, InvalidEventError, LedgerUnavailableError
from bus.kafka.admin import Admin
from bus.kafka.consumer import Partition
from bus.kafka.groups import Groups
from bus.kafka.reader import RecordReader
from bus.ledger import Ledger
from bus.models import GroupEpoch, GroupState
from bus.replay.refusals import NotPossibleError, UnknownThingError

MOST_PARTITIONS: Final = 2000


class To(StrEnum):
    """Where a group is to go on."""

    EARLIEST = "earliest"
    """With the oldest event that Kafka still has."""
    LATEST = "latest"
    """With what is published from now on."""
    TIME = "time"
    """With the first event written at or after a time."""
    OFFSETS = "offsets"
    """At offsets that are given for each partition."""


@dataclass(frozen=True, slots=True)
class Target:
    """What was asked for. `topics`: only these of the group's topics; `offsets` only with OFFSETS, `at` with TIME."""

    to: To
    at: datetime | None = None
    offsets: Mapping[Partition, int] | None = None
    topics: tuple[str, ...] = ()


class Row(NamedTuple):
    """One partition. `before` is None without a commit: then the group would begin at `first`."""

    topic: str
    partition: int
    before: int | None
    after: int
    first: int
    end: int

    @property
    def begins(self) -> int:
        """Where the group would go on without the reset."""
        return self.first if self.before is None else max(self.before, self.first)

    @property
    def lag_before(self) -> int:
        """Events that it has yet to read as it is."""
        return max(0, self.end - self.begins)

    @property
    def lag_after(self) -> int:
        """Events that it has yet to read after the reset."""
        return max(0, self.end - self.after)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a reset would do. `again` are the events that would be read again, `passed` those that never would.

    `sample` is None when there is nothing to look at, or Redis can't say; `note` tells why.
    """

    group: str
    is_ours: bool
    epoch: int
    rows: Sequence[Row]
    sample: Sample | None
    note: str = ""

    @property
    def again(self) -> int:
        """Events between where the group would begin after the reset and where it would as it is."""
        return sum(max(0, row.begins - row.after) for row in self.rows)

    @property
    def passed(self) -> int:
        """Events that the group hasn't read and would pass over."""
        return sum(max(0, row.after - row.begins) for row in self.rows)


def plan(group: str, target: Target, ledger: Ledger, settings: conf.BusSettings | None = None) -> Plan:
    """Say what a reset would do. Nothing is changed.

    Raises UnknownThingError for a group that nobody knows, InvalidEventError for a target that can't be,
    NotPossibleError for what this Kafka can't do, and BrokerUnavailableError.
    """
    settings = settings or conf.current()
    is_ours = group in own_groups()
    with closing(Groups(settings)) as groups:
        before = _before(groups, group, target.topics, is_ours=is_ours)
        firsts, ends = groups.firsts(before), groups.ends(before)
    there = [each for each in sorted(before) if each in firsts and each in ends]
    after = _after(target, there, firsts, ends, settings)
    rows = [Row(*each, before[each], after[each], firsts[each], ends[each]) for each in there if each in after]
    if not rows:
        raise InvalidEventError("topics", f"{group} reads no partition of these that Kafka has")
    epoch = GroupEpoch.objects.filter(group=group).values_list("number", flat=True).first() or 0
    if not is_ours:
        return Plan(group, is_ours, epoch, rows, None, "what a foreign group does with events it has seen isn't known")
    made = Plan(group, is_ours, epoch, rows, None)
    if not made.again:
        return made
    try:
        ranges = {(row.topic, row.partition): (row.after, row.begins) for row in rows if row.after < row.begins}
        return Plan(group, is_ours, epoch, rows, sample(group, ranges, ledger, settings))
    except LedgerUnavailableError as error:
        return Plan(group, is_ours, epoch, rows, None, f"nobody can say what is handled already: {error}")


def _before(groups: Groups, group: str, topics: Sequence[str], *, is_ours: bool) -> dict[Partition, int | None]:
    """The partitions that the group reads, and how far it has committed."""
    existing = groups.cluster().topics
    if is_ours:
        reads = topics_of(group)
        wanted = [(name, number) for name in reads for number in range(existing.get(name, 0))]
        answer = groups.committed({group: wanted})[group]
    else:
        answer = _all_commits(groups, group, existing)
        wanted = [] if isinstance(answer, BrokerUnavailableError) else sorted(answer)
        reads = sorted({topic for topic, _ in wanted})
        if not wanted and not isinstance(answer, BrokerUnavailableError):
            raise UnknownThingError(f"nobody knows of a group {group!r} that has committed anything")
    if isinstance(answer, BrokerUnavailableError):
        raise answer
    if unread := [name for name in topics if name not in reads]:
        raise InvalidEventError("topics", f"{group} doesn't read {unread[0]!r}; it reads {', '.join(reads)}")
    found = {each: answer.get(each) for each in wanted if not topics or each[0] in topics}
    if len(found) > MOST_PARTITIONS:
        raise InvalidEventError("topics", f"{len(found)} partitions at once; name topics of {MOST_PARTITIONS} at most")
    return found


def _all_commits(
    groups: Groups, group: str, existing: Mapping[str, int]
) -> dict[Partition, int] | BrokerUnavailableError:
    """Where a foreign group has committed; the embedded Kafka can't tell, and is asked partition by partition."""
    if not Admin().ping(5.0).is_embedded:
        return groups.all_commits([group])[group]
    state = GroupState.objects.filter(pk=group).first()
    reads = state.topics if state is not None else [name for name in existing if not name.startswith("__")]
    places = [(name, number) for name in reads for number in range(existing.get(name, 0))][:MOST_PARTITIONS]
    return groups.committed({group: places})[group]


def _after(
    target: Target,
    there: Sequence[Partition],
    firsts: Mapping[Partition, int],
    ends: Mapping[Partition, int],
    settings: conf.BusSettings,
) -> dict[Partition, int]:
    if target.to is To.EARLIEST:
        return {each: firsts[each] for each in there}
    if target.to is To.LATEST:
        return {each: ends[each] for each in there}
    if target.to is To.TIME:
        return _at_time(target.at, there, settings)
    wanted = dict(target.offsets or {})
    if not wanted:
        raise InvalidEventError("offsets", "none given; give topic, partition and offset of each partition to set")
    for each, offset in wanted.items():
        name = f"{each[0]}[{each[1]}]"
        if each not in there:
            raise InvalidEventError("offsets", f"the group reads no partition {name}")
        check(name, offset, firsts[each], ends[each])
    return wanted


def check(name: str, offset: int, first: int, end: int) -> None:
    """Raise InvalidEventError for an offset that Kafka doesn't have."""
    if not first <= offset <= end:
        raise InvalidEventError("offsets", f"{offset} given for {name}, Kafka has {first} to {end} (the next event)")


def _at_time(at: datetime | None, there: Sequence[Partition], settings: conf.BusSettings) -> dict[Partition, int]:
    if at is None:
        raise InvalidEventError("at", "none given; give a time such as 2026-11-27T12:00:00Z")
    if at > datetime.now(UTC):
        raise InvalidEventError(
            "at", f"{at:%Y-%m-%dT%H:%M:%SZ} is yet to come; for what is published from now on: latest"
        )
    if Admin(settings).ping(5.0).is_embedded:
        raise NotPossibleError(
            "the embedded Kafka can't seek by time: it answers the end of each partition, whatever the time",
            possible=[To.EARLIEST, To.LATEST, To.OFFSETS],
        )
    # Negative times mean other things to Kafka, such as the end.
    # Where nothing was written since then, the group goes on with what comes next.
    with RecordReader(settings, "reset") as reader:
        return reader.offsets_at(there, max(0, int(at.timestamp() * 1000)))
