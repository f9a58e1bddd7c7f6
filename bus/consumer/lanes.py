"""Work of one process, ordered by key: which events may run now.

A *lane* holds the waiting events of one (topic, partition, key) in the order of the partition. It gives out one *run*
of consecutive events at a time, and nothing more until that run is finished, given back or parked. So events of one key
never overtake each other and never run beside each other, and keys don't wait for each other. An event whose `lane` is
None has no order: such *loose* events of a partition share one queue that is never busy.

    add ──▶ waiting ──take──▶ out ──finish──▶ gone
               ▲ ▲             │ │
               │ └──give_back──┘ park
               └──due, alone── parked

One thread owns a `Lanes`; there are no locks. Times are seconds of any one clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Generic, cast

from bus.consumer.runs import BUSY, LOOSE, Home, Lane, Parked, Run, Source, W

__all__ = ["Lanes", "Run", "Source"]


class Lanes(Generic[W]):
    """The waiting, parked and running events of one process.

    `run_limit` is the most events of a run, and may be changed. `spread` keeps loose events from piling up in few runs:
    a run takes at most that fraction of those that wait (the number of handlers running at once is a good value).
    """

    def __init__(self, run_limit: int = 64, spread: int = 8) -> None:
        if run_limit < 1 or spread < 1:
            raise ValueError("run_limit and spread are at least 1")
        self.run_limit = run_limit
        self._spread = spread
        self._homes: dict[Source, Home[W]] = {}
        self._turn: deque[Home[W]] = deque()  # partitions with something to give, the next one first
        self._heap: list[tuple[float, int, Parked[W]]] = []
        self._sequence = 0  # keeps equal times in the order of parking, and the heap from comparing events
        self._waiting = 0
        self._parked = 0
        self._out = 0
        self._is_held: Callable[[W], bool] | None = None

    @property
    def waiting(self) -> int:
        """Events that are neither out nor parked, whether or not their lane is free."""
        return self._waiting

    @property
    def parked(self) -> int:
        """Events that wait for their time; those behind them count as waiting."""
        return self._parked

    @property
    def out(self) -> int:
        """Events in runs that are out, without those of dropped partitions."""
        return self._out

    @property
    def has_ready(self) -> bool:
        """Whether `take` would give something out even if no time passed."""
        return bool(self._turn)

    def held(self, source: Source) -> tuple[int, int]:
        """Events and bytes of a partition that are waiting, parked or out: what its window is measured by."""
        home = self._homes.get(source)
        return (home.held_events, home.held_bytes) if home else (0, 0)

    def waiting_of(self, source: Source) -> int:
        """Events of a partition that are waiting or parked, not out."""
        home = self._homes.get(source)
        return home.held_events - home.out if home else 0

    def parked_works(self) -> Iterator[tuple[W, float]]:
        """Events that wait for their time, and until when, in no order; those whose time has come aren't among them."""
        return ((parked.work, until) for until, _, parked in self._heap if parked.live)

    def queued_works(self, source: Source) -> Iterator[W]:
        """Events of a partition that wait for their turn."""
        home = self._homes.get(source)
        return home.queued() if home else iter(())

    def hold_back(self, is_held: Callable[[W], bool] | None) -> None:
        """From now on `take` gives nothing out that begins with such an event; with None, everything again.

        All events of a lane are held back together, and all loose ones of a partition: `is_held` mustn't tell them
        apart.
        """
        self._is_held = is_held
        for home in self._homes.values():
            home.ready.extend(home.held_back)
            home.due.extend(home.held_due)
            home.held_back.clear()
            home.held_due.clear()
            if home.due:
                home.due_since = float("-inf")
            self._list(home)

    def add(self, works: Iterable[W]) -> None:
        """Append events to their lanes, in the order given."""
        home: Home[W] | None = None
        for work in works:
            source = work.source
            if home is None or home.source != source:
                home = self._homes.get(source) or self._homes.setdefault(source, Home(source))
            home.held_events += 1
            home.held_bytes += work.size
            self._waiting += 1
            lane = work.lane
            if lane is None:
                if not home.loose:
                    home.ready.append(LOOSE)
                home.loose.append(work)
            else:
                entry = home.lanes.get(lane)
                if entry is None:
                    home.lanes[lane] = work
                    home.ready.append(lane)
                elif isinstance(entry, Lane):
                    entry.queue.append(work)
                elif entry is BUSY:
                    home.lanes[lane] = Lane(deque((work,)), resting=True)
                else:
                    home.lanes[lane] = Lane(deque((cast(W, entry), work)))
            if not home.listed:
                self._list(home)

    def take(self, limit: int, now: float) -> list[Run[W]]:
        """Up to `limit` events as runs: parked ones whose time has come first, partitions and lanes in turn."""
        self._collect_due(now)
        runs: list[Run[W]] = []
        turn = self._turn
        quantum = max(1, -(-limit // len(turn))) if turn else 0
        while turn and limit > 0:
            home = turn.popleft()
            limit -= self._take_from(home, quantum, limit, runs)
            if home.due or home.ready:
                turn.append(home)
            else:
                home.listed = False
        return runs

    def finish(self, run: Run[W]) -> None:
        """All events of the run are settled: its lane is free. Raises ValueError for a run that isn't out."""
        self.give_back(run, ())

    def give_back(self, run: Run[W], rest: Sequence[W]) -> None:
        """Some events of the run weren't run: `rest`, in their order, goes back to the head of the lane.

        The run's other events count as settled. If the partition was dropped, nothing comes back, but the lane is free.
        Raises ValueError for a run that isn't out.
        """
        kept = self._take_in(run, rest)
        if run.lane is None:
            self._loosen(run._home, kept)
        else:
            self._free(run._home, run.lane, kept)

    def shorten(self, run: Run[W], rest: Sequence[W]) -> None:
        """The last events of a run that stays out weren't started: they are no part of it any more, and wait again.

        Those of a keyed lane wait for the run; loose ones may be taken at once.
        """
        gone = set(map(id, rest))
        run.works = [work for work in run.works if id(work) not in gone]
        if run.dropped:
            return
        home, events = run._home, len(rest)
        home.out -= events
        self._out -= events
        self._waiting += events
        if run.lane is None:
            self._loosen(home, rest)
            return
        entry = home.lanes[run.lane]
        lane = home.lanes[run.lane] = entry if isinstance(entry, Lane) else Lane(deque(), True)
        lane.queue.extendleft(reversed(rest))

    def park(self, run: Run[W], rest: Sequence[W], until: float) -> None:
        """The first event of `rest` waits until `until`; the others go back to the head of the lane, behind it.

        `take` then gives it out alone, and what is behind it only after that. Behind a loose event nothing waits.
        The run's other events count as settled. If the partition was dropped, nothing comes back, but the lane is free.
        Raises ValueError for a run that isn't out, or when there is nothing to park.
        """
        if not rest:
            raise ValueError("there is nothing to park in an empty rest")
        if run.dropped:
            self.give_back(run, ())
            return
        kept, home = self._take_in(run, rest), run._home
        parked = Parked(home, run.lane, kept[0])
        if run.lane is None:
            self._loosen(home, kept[1:])
        else:
            entry = home.lanes[run.lane]
            lane = home.lanes[run.lane] = entry if isinstance(entry, Lane) else Lane(deque(), True)
            lane.queue.extendleft(reversed(kept[1:]))
            lane.parked = parked
        self._park(parked, until)

    def scatter(self, run: Run[W], parked: Sequence[tuple[W, float]], rest: Sequence[W]) -> None:
        """Park several events of a run of loose events, each until its own time; `rest` goes back to be taken again.

        The run's other events count as settled. Raises ValueError for a run that isn't out, or of a keyed lane.
        """
        if run.lane is not None:
            raise ValueError("events of one lane wait behind each other: park the first, with the rest behind it")
        if run.dropped:
            self.give_back(run, ())
            return
        works = [work for work, _ in parked]
        self._take_in(run, [*works, *rest])
        self._loosen(run._home, rest)
        for work, until in parked:
            self._park(Parked(run._home, None, work), until)

    def next_due(self) -> float | None:
        """When the next parked event wants to be taken, or None. In the past when one is waiting to be taken."""
        while self._heap and not self._heap[0][2].live:
            heappop(self._heap)
        waiting = self._heap[0][0] if self._heap else None
        return min((home.due_since for home in self._turn if home.due), default=waiting)

    def drop(self, source: Source) -> list[W]:
        """The partition was taken away: remove its waiting and parked events and return them, each lane in order.

        Runs that are out stay out. Should the partition come back before they are finished, their lanes stay busy until
        then, so that an event never runs beside itself.
        """
        home = self._homes.get(source)
        if home is None:
            return []
        works: list[W] = [parked.work for parked in home.parked if parked.lane is None]
        busy: list[Hashable] = []
        for lane, entry in home.lanes.items():
            if isinstance(entry, Lane):
                if entry.parked:
                    works.append(entry.parked.work)
                elif entry.resting:
                    busy.append(lane)
                works.extend(entry.queue)
            elif entry is BUSY:
                busy.append(lane)
            else:
                works.append(cast(W, entry))
        works.extend(home.loose)
        self._waiting -= len(works) - len(home.parked)
        self._parked -= len(home.parked)
        self._out -= home.out
        home.empty(busy)
        if home.listed:
            home.listed = False
            self._turn.remove(home)
        self._forget_if_unused(home)
        return works

    def _park(self, parked: Parked[W], until: float) -> None:
        parked.home.parked.add(parked)
        self._sequence += 1
        heappush(self._heap, (until, self._sequence, parked))
        self._waiting -= 1
        self._parked += 1

    def _list(self, home: Home[W]) -> None:
        if not home.listed and (home.due or home.ready):
            home.listed = True
            self._turn.append(home)

    def _collect_due(self, now: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            until, _, parked = heappop(heap)
            if parked.live:
                parked.home.due.append(parked)
                parked.home.due_since = min(parked.home.due_since, until)
                self._list(parked.home)

    def _take_from(self, home: Home[W], quantum: int, limit: int, runs: list[Run[W]]) -> int:
        """Give out runs of one partition until `quantum` events are reached, never more than `limit`."""
        given = 0
        is_held = self._is_held
        while home.due and given < quantum and given < limit:
            if is_held is not None and is_held(home.due[0].work):
                home.held_due.append(self._next_of_due(home))
                continue
            runs.append(self._run_of_due(home))
            given += 1
        were_parked = given
        ready, lanes = home.ready, home.lanes
        while ready and given < quantum and given < limit:
            key = ready.popleft()
            if is_held is not None and is_held(home.first_of(key)):
                home.held_back.append(key)
                continue
            if key is LOOSE:
                works = self._pop(home.loose, min(limit - given, -(-len(home.loose) // self._spread)))
                if home.loose:
                    ready.append(LOOSE)
                key = None
            else:
                entry = lanes[key]
                if isinstance(entry, Lane):
                    works = self._pop(entry.queue, limit - given)
                    entry.resting = True
                else:
                    works = [cast(W, entry)]
                    lanes[key] = BUSY
            runs.append(Run(works, key, home))
            given += len(works)
        home.out += given
        self._out += given
        self._waiting -= given - were_parked
        return given

    def _run_of_due(self, home: Home[W]) -> Run[W]:
        parked = self._next_of_due(home)
        home.parked.remove(parked)
        self._parked -= 1
        if parked.lane is not None:
            lane = home.lanes[parked.lane]
            assert isinstance(lane, Lane)
            lane.parked = None
        return Run([parked.work], parked.lane, home)

    def _next_of_due(self, home: Home[W]) -> Parked[W]:
        parked = home.due.popleft()
        if not home.due:
            home.due_since = float("inf")
        return parked

    def _pop(self, queue: deque[W], most: int) -> list[W]:
        return [queue.popleft() for _ in range(min(most, len(queue), self.run_limit))]

    def _take_in(self, run: Run[W], rest: Sequence[W]) -> Sequence[W]:
        """Book a run as no longer out. Returns what of `rest` is still ours."""
        if not run._out or len(rest) > len(run.works):
            raise ValueError(f"{run!r} isn't out, or more is given back than it had")
        run._out = False
        if run.dropped:
            return ()
        home, events = run._home, len(run.works)
        home.out -= events
        self._out -= events
        self._waiting += len(rest)
        home.held_events -= events - len(rest)
        # Summing up over one event, which most runs are, would take as long as all the rest here.
        home.held_bytes -= run.works[0].size if events == 1 else sum(work.size for work in run.works)
        if rest:
            home.held_bytes += sum(work.size for work in rest)
        return rest

    def _free(self, home: Home[W], key: Hashable, rest: Sequence[W]) -> None:
        entry = home.lanes[key]
        if isinstance(entry, Lane):
            entry.queue.extendleft(reversed(rest))
            entry.resting = False
        elif rest:
            entry = home.lanes[key] = Lane(deque(rest))
        if isinstance(entry, Lane) and entry.queue:
            home.ready.append(key)
            self._list(home)
            return
        del home.lanes[key]
        if home.epoch:
            self._forget_if_unused(home)

    def _loosen(self, home: Home[W], works: Sequence[W]) -> None:
        if works and not home.loose:
            home.ready.append(LOOSE)
        home.loose.extendleft(reversed(works))
        self._list(home)

    def _forget_if_unused(self, home: Home[W]) -> None:
        # A partition that was dropped is kept only for the sake of lanes whose run is still out.
        if not home.lanes and not home.held_events and self._homes.get(home.source) is home:
            del self._homes[home.source]
