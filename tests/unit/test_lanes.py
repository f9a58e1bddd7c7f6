"""Key-ordered work: promise 7, and the part of promise 5 that says an event never runs beside itself."""

from __future__ import annotations

import time
from collections.abc import Hashable

import pytest
from hypothesis import settings

from bus.consumer.lanes import Lanes, Run, Source
from tests.unit.lane_model import P0, P1, Item, Worker


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


def test_several_events_of_a_loose_run_are_parked_each_until_its_own_time() -> None:
    lanes = Lanes[Item](spread=1)
    lanes.add(items(None, 4))
    (run,) = lanes.take(100, 0.0)
    first, second, third, _ = run.works
    lanes.scatter(run, [(first, 9.0), (third, 5.0)], [second])

    assert (lanes.parked, lanes.waiting, lanes.held(P0)) == (2, 1, (3, 30))
    assert taken(lanes) == [[1]]
    assert taken(lanes, now=5.0) == [[2]]
    assert taken(lanes, now=9.0) == [[0]]


def test_events_of_a_keyed_lane_are_not_scattered() -> None:
    lanes = Lanes[Item]()
    lanes.add(items("a", 2))
    (run,) = lanes.take(100, 0.0)

    with pytest.raises(ValueError):
        lanes.scatter(run, [(run.works[0], 5.0)], [])


def test_a_scattered_run_of_a_dropped_partition_is_ignored() -> None:
    lanes = Lanes[Item]()
    lanes.add(items(None, 1))
    (run,) = lanes.take(100, 0.0)
    lanes.drop(P0)
    lanes.scatter(run, [(run.works[0], 5.0)], [])

    assert (lanes.parked, lanes.waiting, lanes.out, lanes.next_due()) == (0, 0, 0, None)


def test_it_is_known_whether_something_can_be_taken_now() -> None:
    lanes = Lanes[Item]()
    assert not lanes.has_ready
    lanes.add(items("a", 2))
    assert lanes.has_ready
    (run,) = lanes.take(100, 0.0)
    assert not lanes.has_ready
    lanes.give_back(run, run.works)
    assert lanes.has_ready
    lanes.drop(P0)
    assert not lanes.has_ready


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
