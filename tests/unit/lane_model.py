"""What lanes should do, told with one plain queue per lane, and an event as lanes see it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bus.consumer.lanes import Lanes, Run, Source

P0: Source = ("order.created", 0)
P1: Source = ("order.created", 1)


@dataclass(eq=False, slots=True)
class Item:
    """An event as lanes see it."""

    lane: Hashable | None
    offset: int
    source: Source = P0
    size: int = 10


@dataclass(slots=True)
class Key:
    """What the model knows of one lane: its events in order, and what became of the first of them."""

    queue: deque[Item] = field(default_factory=deque)
    until: float | None = None


class Worker(RuleBasedStateMachine):
    """Adds, takes, finishes, parks, gives back, drops at random, and compares with one plain queue per lane."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes[Item](run_limit=3, spread=2)
        self.now = 0.0
        self.offset = 0
        self.keys: dict[tuple[Source, Hashable], Key] = defaultdict(Key)
        self.loose: dict[Source, set[Item]] = defaultdict(set)
        self.loose_until: dict[Item, float] = {}
        self.runs: list[Run[Item]] = []
        self.stale: list[Run[Item]] = []
        self.held: frozenset[Hashable] = frozenset()

    @rule(held=st.frozensets(st.sampled_from([None, "a", "b", "c"]), max_size=3))
    def hold_back(self, held: frozenset[Hashable]) -> None:
        self.held = held
        self.lanes.hold_back((lambda work: work.lane in held) if held else None)

    @rule(arrivals=st.lists(st.tuples(st.sampled_from([P0, P1]), st.sampled_from([None, "a", "b", "c"])), max_size=12))
    def add(self, arrivals: list[tuple[Source, str | None]]) -> None:
        works = []
        for source, lane in arrivals:
            works.append(Item(lane, self.offset, source, size=self.offset % 7))
            self.offset += 1
            if lane is None:
                self.loose[source].add(works[-1])
            else:
                self.keys[source, lane].queue.append(works[-1])
        self.lanes.add(works)

    @rule(limit=st.integers(0, 9), pass_time=st.integers(0, 3))
    def take(self, limit: int, pass_time: int) -> None:
        self.now += pass_time
        runs = self.lanes.take(limit, self.now)
        assert sum(len(run.works) for run in runs) <= limit
        for run in runs:
            self._given(run)
        self.runs.extend(runs)

    def _given(self, run: Run[Item]) -> None:
        assert 1 <= len(run.works) <= 3
        assert run.lane not in self.held
        if run.lane is None:
            for work in run.works:
                self.loose[run.source].remove(work)
                until = self.loose_until.pop(work, None)
                assert until is None or (until <= self.now and len(run.works) == 1)
            return
        assert (run.source, run.lane) not in {(other.source, other.lane) for other in self.runs + self.stale}
        key = self.keys[run.source, run.lane]
        assert list(key.queue)[: len(run.works)] == run.works
        if key.until is not None:
            assert key.until <= self.now
            assert len(run.works) == 1
            key.until = None
        for _ in run.works:
            key.queue.popleft()

    def _return(self, run: Run[Item], rest: Sequence[Item]) -> None:
        if run.lane is None:
            self.loose[run.source].update(rest)
        else:
            self.keys[run.source, run.lane].queue.extendleft(reversed(rest))

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), how=st.sampled_from(["finish", "give back", "park", "scatter"]))
    def end(self, data: st.DataObject, how: str) -> None:
        run = self.runs.pop(data.draw(st.integers(0, len(self.runs) - 1)))
        # Any of a run's events may have been settled, not only the first ones.
        rest = [work for work in run.works if data.draw(st.booleans())]
        if how == "finish":
            self.lanes.finish(run)
        elif how == "give back" or not rest:
            self.lanes.give_back(run, rest)
            self._return(run, rest)
        elif how == "scatter" and run.lane is None:
            parked = [(work, self.now + data.draw(st.integers(0, 5))) for work in rest[::2]]
            self.lanes.scatter(run, parked, rest[1::2])
            self._return(run, rest)
            self.loose_until.update(parked)
        else:
            until = self.now + data.draw(st.integers(0, 5))
            self.lanes.park(run, rest, until)
            self._return(run, rest)
            if run.lane is None:
                self.loose_until[rest[0]] = until
            else:
                self.keys[run.source, run.lane].until = until

    @rule(source=st.sampled_from([P0, P1]))
    def drop(self, source: Source) -> None:
        expected = list(self.loose.pop(source, set()))
        for place in [place for place in self.keys if place[0] == source]:
            expected.extend(self.keys.pop(place).queue)
        dropped = self.lanes.drop(source)
        assert sorted(work.offset for work in dropped) == sorted(work.offset for work in expected)
        for work in dropped:
            self.loose_until.pop(work, None)
        self.stale += [run for run in self.runs if run.source == source]
        self.runs = [run for run in self.runs if run.source != source]

    @precondition(lambda self: self.stale)
    @rule(how=st.sampled_from(["finish", "give back", "park"]))
    def end_a_run_of_a_dropped_partition(self, how: str) -> None:
        run = self.stale.pop(0)
        assert run.dropped
        if how == "finish":
            self.lanes.finish(run)
        elif how == "give back":
            self.lanes.give_back(run, run.works)
        else:
            self.lanes.park(run, run.works, self.now)

    def _free(self) -> set[tuple[Source, Hashable]]:
        """Lanes that have something to give out, whatever the time is."""
        out = {(run.source, run.lane) for run in self.runs + self.stale if run.lane is not None}
        keyed = {place for place, key in self.keys.items() if key.queue and place not in out}
        loose: set[tuple[Source, Hashable]] = {(source, None) for source, works in self.loose.items() if works}
        return {place for place in keyed | loose if place[1] not in self.held}

    @rule()
    def what_is_not_held_back_is_given_out(self) -> None:
        """In its time, and all of it; then there is nothing to come back for."""
        self.now += 100
        for _ in range(100):
            runs = self.lanes.take(5, self.now)
            if not runs:
                break
            for run in runs:
                self._given(run)
                self.lanes.finish(run)
        assert not self._free()
        assert not self.lanes.has_ready

    def _parked(self) -> list[float]:
        return [key.until for key in self.keys.values() if key.until is not None] + list(self.loose_until.values())

    @invariant()
    def the_counts_are_right(self) -> None:
        queued = sum(len(key.queue) for key in self.keys.values()) + sum(map(len, self.loose.values()))
        assert self.lanes.parked == len(self._parked())
        assert self.lanes.waiting == queued - self.lanes.parked
        assert self.lanes.out == sum(len(run.works) for run in self.runs)
        for source in (P0, P1):
            held = [work for place, key in self.keys.items() if place[0] == source for work in key.queue]
            held += self.loose[source]
            assert self.lanes.waiting_of(source) == len(held)
            held += [work for run in self.runs if run.source == source for work in run.works]
            assert self.lanes.held(source) == (len(held), sum(work.size for work in held))

    @invariant()
    def the_next_due_is_the_earliest_parked_one(self) -> None:
        due = self.lanes.next_due()
        earliest = min(self._parked(), default=None)
        if self.held:
            # What is held back is asked for once, when it is due, and then no more.
            assert due is None or earliest is None or due >= earliest or due == float("-inf")
        elif earliest is None or earliest > self.now:
            assert due == earliest
        else:
            assert due is not None
            assert due <= self.now

    def teardown(self) -> None:
        """Nothing is lost: when all runs end and time passes, everything comes out."""
        self.hold_back(frozenset())
        for run in self.runs + self.stale:
            self.lanes.finish(run)
        self.runs, self.stale, self.now = [], [], self.now + 100
        while runs := self.lanes.take(5, self.now):
            for run in runs:
                self._given(run)
                self.lanes.finish(run)
        assert not any(key.queue for key in self.keys.values())
        assert not any(self.loose.values())
        assert (self.lanes.waiting, self.lanes.parked, self.lanes.out) == (0, 0, 0)
        assert self.lanes.next_due() is None
