"""Key-ordered work: promise 7, and the part of promise 5 that says an event never runs beside itself."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
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


def items(lane: Hashable | None, count: int, source: Source = P0, first: int = 0) -> list[Item]:
    return [Item(lane, first + index, source) for index in range(count)]


def offsets(run: Run[Item]) -> list[int]:
    return [work.offset for work in run.works]


def taken(lanes: Lanes[Item], limit: int = 100, now: float = 0.0) -> list[list[int]]:
    return [offsets(run) for run in lanes.take(limit, now)]


def test_a_lane_gives_consecutive_events_in_one_run() -> None:
    lanes = Lanes[Item]()
    lanes.add(items("a", 3))

    (run,) = lanes.take(100, 0.0)

    assert offsets(run) == [0, 1, 2]
    assert run.source == P0
    assert run.lane == "a"


def test_a_lane_gives_nothing_more_while_its_run_is_out() -> None:
    lanes = Lanes[Item]()
    lanes.add(items("a", 1))
    (run,) = lanes.take(100, 0.0)
    lanes.add(items("a", 2, first=1))

    assert lanes.take(100, 0.0) == []

    lanes.finish(run)
    assert taken(lanes) == [[1, 2]]


def test_a_run_has_at_most_its_limit_and_take_at_most_its_own() -> None:
    lanes = Lanes[Item](run_limit=4)
    lanes.add(items("a", 10))
    lanes.add(items("b", 10))

    runs = lanes.take(6, 0.0)

    assert [offsets(run) for run in runs] == [[0, 1, 2, 3], [0, 1]]
    assert (lanes.out, lanes.waiting) == (6, 14)


def test_lanes_take_turns() -> None:
    lanes = Lanes[Item](run_limit=2)
    lanes.add(items("a", 4))
    lanes.add(items("b", 2))
    (first,) = lanes.take(2, 0.0)
    lanes.finish(first)

    assert [run.lane for run in lanes.take(4, 0.0)] == ["b", "a"]


def test_a_flooded_partition_does_not_starve_another() -> None:
    lanes = Lanes[Item]()
    lanes.add([Item(f"a{index}", index, P0) for index in range(1000)])
    lanes.add([Item("b", 0, P1)])

    assert P1 in {run.source for run in lanes.take(10, 0.0)}


def test_the_same_key_in_two_partitions_is_two_lanes() -> None:
    lanes = Lanes[Item]()
    lanes.add(items("a", 1, P0) + items("a", 1, P1))

    assert len(lanes.take(10, 0.0)) == 2


def test_loose_events_are_spread_over_several_runs() -> None:
    lanes = Lanes[Item](run_limit=64, spread=4)
    lanes.add(items(None, 8))

    runs = taken(lanes)

    assert [offset for run in runs for offset in run] == list(range(8))
    assert len(runs) >= 4
    assert max(map(len, runs)) == 2


def test_loose_events_share_the_partition_with_keyed_ones() -> None:
    lanes = Lanes[Item](run_limit=2, spread=1)
    lanes.add(items(None, 100))
    lanes.add(items("a", 2))

    assert {run.lane for run in lanes.take(4, 0.0)} == {None, "a"}


def test_a_parked_event_comes_back_alone_when_due_and_what_is_behind_it_after_that() -> None:
    lanes = Lanes[Item]()
    lanes.add(items("a", 4))
    (run,) = lanes.take(100, 0.0)
    lanes.park(run, run.works[1:], until=5.0)
    lanes.add(items("a", 1, first=4))

    assert lanes.take(100, 4.9) == []
    assert lanes.next_due() == 5.0
    (retry,) = lanes.take(100, 5.0)
    assert offsets(retry) == [1]
    assert lanes.take(100, 5.0) == []

    lanes.finish(retry)
    assert taken(lanes) == [[2, 3, 4]]


def test_an_event_can_be_parked_again_and_again() -> None:
    lanes = Lanes[Item]()
    lanes.add(items("a", 2))
    (run,) = lanes.take(100, 0.0)
    lanes.park(run, run.works, until=5.0)

    for due in (5.0, 15.0, 35.0):
        (run,) = lanes.take(100, due)
        assert offsets(run) == [0]
        lanes.park(run, run.works, until=due * 2 + 5)

    assert (lanes.parked, lanes.waiting, lanes.out) == (1, 1, 0)


def test_a_parked_lane_does_not_block_others() -> None:
    lanes = Lanes[Item]()
    lanes.add(items("a", 2))
    (run,) = lanes.take(100, 0.0)
    lanes.park(run, run.works, until=1000.0)
    lanes.add([Item("b", 9), Item("a", 10), Item(None, 11)])

    assert taken(lanes) == [[9], [11]]


def test_nothing_waits_behind_a_parked_loose_event() -> None:
    lanes = Lanes[Item](spread=1)
    lanes.add(items(None, 3))
    (run,) = lanes.take(100, 0.0)
    lanes.park(run, run.works, until=5.0)

    assert taken(lanes) == [[1, 2]]
    assert taken(lanes, now=5.0) == [[0]]


def test_due_events_come_before_waiting_ones_earliest_first() -> None:
    lanes = Lanes[Item]()
    lanes.add([Item("a", 0), Item("b", 1)])
    late, early = lanes.take(100, 0.0)
    lanes.park(late, late.works, until=7.0)
    lanes.park(early, early.works, until=6.0)
    lanes.add([Item("c", 2)])

    assert taken(lanes, now=8.0) == [[1], [0], [2]]


def test_next_due_is_in_the_past_while_a_due_event_was_not_taken() -> None:
    lanes = Lanes[Item]()
    lanes.add([Item("a", 0), Item("b", 1)])
    for until, run in zip((6.0, 7.0), lanes.take(100, 0.0), strict=True):
        lanes.park(run, run.works, until)

    lanes.take(1, 8.0)
    due = lanes.next_due()
    assert due is not None
    assert due <= 8.0

    lanes.take(1, 8.0)
    assert lanes.next_due() is None


def test_what_is_given_back_comes_first_again() -> None:
    lanes = Lanes[Item]()
    lanes.add(items("a", 3))
    (run,) = lanes.take(100, 0.0)
    lanes.add(items("a", 1, first=3))
    lanes.give_back(run, run.works[1:])

    assert taken(lanes) == [[1, 2, 3]]


def test_a_run_that_is_not_out_is_refused() -> None:
    lanes = Lanes[Item]()
    lanes.add(items("a", 1))
    (run,) = lanes.take(100, 0.0)

    with pytest.raises(ValueError):
        lanes.park(run, [], until=1.0)
    with pytest.raises(ValueError):
        lanes.give_back(run, items("a", 2))
    lanes.finish(run)
    with pytest.raises(ValueError):
        lanes.finish(run)


def test_a_dropped_partition_leaves_nothing_behind() -> None:
    lanes = Lanes[Item](spread=1)
    lanes.add([*items("a", 2), *items(None, 2, first=2), *items("b", 2, first=4), *items("c", 2, P1)])
    by_lane = {(run.source, run.lane): run for run in lanes.take(100, 0.0)}
    lanes.park(by_lane[P0, "a"], by_lane[P0, "a"].works, until=5.0)
    lanes.park(by_lane[P0, None], by_lane[P0, None].works, until=5.0)
    lanes.add(items("d", 1, first=6))

    dropped = lanes.drop(P0)

    assert sorted(work.offset for work in dropped) == [0, 1, 2, 3, 6]
    assert lanes.held(P0) == (0, 0)
    assert (lanes.waiting, lanes.parked, lanes.out) == (0, 0, 2)
    assert lanes.next_due() is None
    assert lanes.take(100, 10.0) == []
    assert by_lane[P0, "b"].dropped
    assert not by_lane[P1, "c"].dropped


def test_a_run_that_is_out_when_its_partition_is_dropped_is_ignored_when_it_ends() -> None:
    lanes = Lanes[Item]()
    lanes.add([Item("a", 0), Item("b", 1), Item("c", 2), Item(None, 3)])
    first, second, third, loose = lanes.take(100, 0.0)
    lanes.drop(P0)

    lanes.finish(first)
    lanes.park(second, second.works, until=1.0)
    lanes.give_back(third, third.works)
    lanes.give_back(loose, loose.works)

    assert lanes.take(100, 2.0) == []
    assert (lanes.waiting, lanes.parked, lanes.out) == (0, 0, 0)


def test_a_lane_stays_busy_when_its_partition_comes_back_before_its_run_ended() -> None:
    lanes = Lanes[Item]()
    lanes.add([Item("a", 0)])
    (stale,) = lanes.take(100, 0.0)
    lanes.drop(P0)

    lanes.add([Item("a", 0), Item("b", 1)])
    assert taken(lanes) == [[1]]

    lanes.finish(stale)
    assert taken(lanes) == [[0]]


def test_the_window_counts_what_is_waiting_parked_and_out() -> None:
    lanes = Lanes[Item]()
    lanes.add(items("a", 3))
    assert lanes.held(P0) == (3, 30)
    (run,) = lanes.take(100, 0.0)
    assert (lanes.held(P0), lanes.waiting_of(P0)) == ((3, 30), 0)

    lanes.park(run, run.works[1:], until=5.0)
    assert (lanes.held(P0), lanes.waiting_of(P0)) == ((2, 20), 2)

    for _ in range(2):
        for run in lanes.take(100, 5.0):
            lanes.finish(run)
    assert lanes.held(P0) == (0, 0)
    assert lanes.held(("never seen", 3)) == (0, 0)


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
    @rule(data=st.data(), how=st.sampled_from(["finish", "give back", "park"]))
    def end(self, data: st.DataObject, how: str) -> None:
        run = self.runs.pop(data.draw(st.integers(0, len(self.runs) - 1)))
        # Any of a run's events may have been settled, not only the first ones.
        rest = [work for work in run.works if data.draw(st.booleans())]
        if how == "finish":
            self.lanes.finish(run)
        elif how == "give back" or not rest:
            self.lanes.give_back(run, rest)
            self._return(run, rest)
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
        if earliest is None or earliest > self.now:
            assert due == earliest
        else:
            assert due is not None
            assert due <= self.now

    def teardown(self) -> None:
        """Nothing is lost: when all runs end and time passes, everything comes out."""
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


TestWorker = Worker.TestCase
TestWorker.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("keys", [100_000, 10, 1])
def test_a_hundred_thousand_events_pass_in_a_second_of_one_thread(keys: int) -> None:
    lanes = Lanes[Item]()
    works = [Item(index % keys, index) for index in range(100_000)]
    begun = time.process_time()
    for start in range(0, len(works), 500):
        lanes.add(works[start : start + 500])
        while runs := lanes.take(500, 0.0):
            for run in runs:
                lanes.finish(run)

    assert time.process_time() - begun < 1
    assert lanes.waiting == 0
