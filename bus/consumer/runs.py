"""What lanes are made of: runs of events, and what is known of one partition. See `bus.consumer.lanes`."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar, cast

Source = tuple[str, int]


class Work(Protocol):
    """What lanes need to know of an event."""

    @property
    def source(self) -> Source:
        """Topic and partition that the event was read from."""

    @property
    def lane(self) -> Hashable | None:
        """Events of one source with an equal lane keep their order (the key, say); None has no order."""

    @property
    def size(self) -> int:
        """Bytes held in memory."""


W = TypeVar("W", bound=Work)


class Run(Generic[W]):
    """Consecutive events of one lane, to be worked on one after the other; or a few loose events, in any order."""

    __slots__ = ("_epoch", "_home", "_out", "lane", "works")

    def __init__(self, works: list[W], lane: Hashable | None, home: Home[W]) -> None:
        self.works = works
        self.lane = lane
        self._home = home
        self._epoch = home.epoch
        self._out = True

    @property
    def source(self) -> Source:
        """Topic and partition of the events."""
        return self._home.source

    @property
    def dropped(self) -> bool:
        """Whether the partition was taken away since: what becomes of the events is not our business any more."""
        return self._epoch != self._home.epoch

    def __repr__(self) -> str:
        return f"<Run of {len(self.works)}, {self.source}, lane {self.lane!r}>"


@dataclass(eq=False, slots=True)
class Lane(Generic[W]):
    """A lane with more to say than "one event waits" or "a run is out", which `Home.lanes` says without it."""

    queue: deque[W]
    resting: bool = False  # gives nothing out: a run is out, or the head is parked; otherwise it is in `ready`
    parked: Parked[W] | None = None


@dataclass(eq=False, slots=True)
class Parked(Generic[W]):
    """An event that waits for its time: the head of its lane, or a loose one."""

    home: Home[W]
    lane: Hashable | None
    work: W
    live: bool = True  # False after its partition was dropped: forgotten when its time comes


class Busy:
    __slots__ = ()


class Home(Generic[W]):
    """All lanes of one partition."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.epoch = 0
        # Most lanes have one event at a time. So a lane is the waiting event itself, or BUSY while a run is out with
        # nothing behind it, and becomes a Lane only when there is more to remember.
        self.lanes: dict[Hashable, W | Lane[W] | Busy] = {}
        self.ready: deque[Hashable] = deque()  # lanes that may give out a run; LOOSE once, if there are loose events
        self.loose: deque[W] = deque()
        self.parked: set[Parked[W]] = set()
        self.due: deque[Parked[W]] = deque()
        self.due_since = float("inf")
        # What `take` came across and must not give out for now.
        self.held_back: list[Hashable] = []
        self.held_due: list[Parked[W]] = []
        self.listed = False  # whether it stands in Lanes._turn
        self.held_events = 0
        self.held_bytes = 0
        self.out = 0

    def queued(self) -> Iterator[W]:
        """Events that wait for their turn, each lane in order."""
        yield from (parked.work for parked in (*self.due, *self.held_due))
        for entry in self.lanes.values():
            if isinstance(entry, Lane):
                yield from entry.queue
            elif entry is not BUSY:
                yield cast(W, entry)
        yield from self.loose

    def first_of(self, key: Hashable) -> W:
        """The next event of a lane that is ready, or of the loose ones."""
        entry = self.loose[0] if key is LOOSE else self.lanes[key]
        return entry.queue[0] if isinstance(entry, Lane) else cast(W, entry)

    def empty(self, busy: Iterable[Hashable]) -> None:
        """Forget all events; only lanes whose run is out stay."""
        for parked in self.parked:
            parked.live = False
        self.epoch += 1
        self.lanes = dict.fromkeys(busy, BUSY)
        for queue in (self.ready, self.loose, self.due, self.held_back, self.held_due):
            queue.clear()
        self.parked.clear()
        self.due_since = float("inf")
        self.held_events = self.held_bytes = self.out = 0


BUSY: Final = Busy()
LOOSE: Final = object()
