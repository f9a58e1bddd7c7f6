"""Lag, trend and time to drain: what must hold whatever is measured, and in which order."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bus.lag.arithmetic import WINDOW_SECONDS, Flow, Measurement, Window, drain_seconds, lag, position, time_lag, trend

OFFSETS = st.integers(0, 10**12)
RATES = st.floats(0, 1e6)
FLOWS = st.builds(Flow, st.integers(0, 10**9), RATES, RATES)


@given(st.none() | OFFSETS, OFFSETS, OFFSETS)
def test_a_lag_is_never_negative_and_never_more_than_there_is(committed: int | None, first: int, end: int) -> None:
    found = lag(position(committed, first), end)
    assert 0 <= found <= max(0, end - first)


@given(OFFSETS, st.integers(0, 1000), st.integers(0, 1000))
def test_a_lag_is_what_was_published_less_what_was_committed(first: int, done: int, waiting: int) -> None:
    assert lag(position(first + done, first), first + done + waiting) == waiting


def test_a_group_that_never_committed_has_all_before_it_but_not_what_is_gone() -> None:
    assert lag(position(None, 40), 100) == 60
    assert lag(position(10, 40), 100) == 60


def window(*measurements: tuple[float, int, int]) -> Window:
    its = Window()
    for each in measurements:
        its.add(Measurement(*each))
    return its


def test_rates_are_those_of_the_window() -> None:
    assert window((0, 0, 100)).flow == Flow(100, 0, 0)
    assert window((0, 0, 100), (10, 50, 120)).flow == Flow(70, 5, 2)
    its = window(*((at, 10 * at, 20 * at) for at in range(0, 61, 2)))
    assert its.flow == Flow(600, 10, 20)
    assert its.lag_before == 300  # half a minute ago


@pytest.mark.parametrize("back", [(4, 5, 30), (4, 20, 20), (2, 20, 40)])
def test_offsets_and_clocks_that_go_back_begin_a_new_window(back: tuple[float, int, int]) -> None:
    its = window((0, 0, 10), (2, 10, 30), back)
    assert its.flow == Flow(max(0, back[2] - back[1]), 0, 0)


@given(st.lists(st.tuples(st.floats(0.01, 100), st.integers(-50, 50), st.integers(-50, 50)), min_size=1))
def test_no_sequence_of_measurements_gives_negative_numbers(steps: list[tuple[float, int, int]]) -> None:
    its, at, place, end = Window(), 0.0, 100, 100
    for seconds, done, arrived in steps:
        at, place, end = at + seconds, max(0, place + done), max(0, end + arrived)
        its.add(Measurement(at, place, end))
        assert min(its.flow) >= 0
        assert its.flow.lag == max(0, end - place)
        assert len(its._seen) <= 2 or at - its._seen[1].at < WINDOW_SECONDS


@given(st.integers(0, 10**9), st.integers(0, 10**9), RATES)
def test_growing_and_shrinking_mirror_each_other(before: int, now: int, arriving: float) -> None:
    mirror = {"growing": "shrinking", "shrinking": "growing", "steady": "steady"}
    assert trend(now, before, arriving) == mirror[trend(before, now, arriving)]


def test_what_comes_and_goes_between_two_commits_is_no_trend() -> None:
    assert trend(0, 90, 50.0) == "steady"
    assert trend(0, 3, 0.1) == "growing"
    assert trend(1000, 1040, 0.0) == "steady"
    assert trend(1000, 900, 10.0) == "shrinking"


@given(st.lists(FLOWS))
def test_the_slowest_partition_decides(flows: list[Flow]) -> None:
    alone = [drain_seconds([each]) for each in flows]
    expected = None if None in alone else max((each for each in alone if each is not None), default=0.0)
    assert drain_seconds(flows) == expected


@given(FLOWS)
def test_without_lag_there_is_nothing_to_wait_for(flow: Flow) -> None:
    assert drain_seconds([flow._replace(lag=0)]) == 0


@given(FLOWS, st.integers(1, 10**6))
def test_more_lag_never_drains_sooner(flow: Flow, more: int) -> None:
    assume(flow.lag > 0)
    less_lag, more_lag = drain_seconds([flow]), drain_seconds([flow._replace(lag=flow.lag + more)])
    if less_lag is None:
        assert more_lag is None
    elif more_lag is not None:
        assert more_lag >= less_lag


def test_the_time_to_drain_counts_what_arrives_meanwhile() -> None:
    assert drain_seconds([Flow(100, 10, 5)]) == 20
    assert drain_seconds([Flow(100, 10, 10)]) is None
    assert drain_seconds([Flow(100, 0, 0)]) is None
    assert drain_seconds([Flow(10, 10, 10)]) == 1  # keeps up: this much is always under way


@given(st.lists(st.none() | st.floats(0, 1e6)))
def test_the_largest_known_age_is_the_time_lag(ages: list[float | None]) -> None:
    found = time_lag(ages)
    assert (found is None) == all(age is None for age in ages)
    assert found is None or all(age is None or age <= found for age in ages)
