"""When a failed event runs again."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import ConfigurationError
from bus.retry import GiveUp, RetryPolicy, RunAgain

delay_lists = st.lists(st.floats(0, 10_000), max_size=8).map(tuple)
policies = st.builds(RetryPolicy.of, delay_lists, st.none() | st.integers(1, 20))


def waits(policy: RetryPolicy) -> list[float]:
    """The delays of an event that fails every time."""
    found: list[float] = []
    for attempt in range(1, 1000):
        decision = policy.after_failure(attempt)
        if isinstance(decision, GiveUp):
            return found
        found.append(decision.seconds)
    raise AssertionError("never gives up")


def test_the_specifications_policy_is_four_attempts_after_0_5_10_and_20_seconds() -> None:
    policy = RetryPolicy.of((5.0, 10.0, 20.0))

    assert policy.max_attempts == 4
    assert waits(policy) == [5.0, 10.0, 20.0]
    assert policy.after_failure(4) == GiveUp()


def test_without_delays_an_event_gets_one_attempt() -> None:
    assert RetryPolicy.of(()).after_failure(1) == GiveUp()


def test_with_more_attempts_than_delays_the_last_delay_repeats() -> None:
    assert waits(RetryPolicy.of((1.0, 2.0), max_attempts=6)) == [1.0, 2.0, 2.0, 2.0, 2.0]


def test_with_fewer_attempts_than_delays_the_rest_of_the_delays_is_unused() -> None:
    assert waits(RetryPolicy.of((1.0, 2.0, 4.0), max_attempts=2)) == [1.0]


def test_attempts_without_delays_follow_at_once() -> None:
    assert waits(RetryPolicy.of((), max_attempts=3)) == [0.0, 0.0]


def test_what_a_handler_asks_for_replaces_the_delay_but_counts_as_an_attempt() -> None:
    policy = RetryPolicy.of((5.0,))

    assert policy.after_failure(1, asked_seconds=42.0) == RunAgain(42.0)
    assert policy.after_failure(1, asked_seconds=0.0) == RunAgain(0.0)
    assert policy.after_failure(2, asked_seconds=42.0) == GiveUp()


@given(policies)
def test_an_event_is_tried_exactly_as_often_as_allowed(policy: RetryPolicy) -> None:
    assert len(waits(policy)) == policy.max_attempts - 1


@given(policies)
def test_the_total_is_the_sum_of_the_waits(policy: RetryPolicy) -> None:
    assert math.isclose(policy.total_seconds, math.fsum(waits(policy)), abs_tol=1e-6)


@given(delay_lists, st.integers(1, 20))
def test_no_wait_is_one_that_nobody_configured(delays: tuple[float, ...], max_attempts: int) -> None:
    assert set(waits(RetryPolicy.of(delays, max_attempts))) <= {*delays, *([] if delays else [0.0])}


@given(policies, st.integers(1, 10**6))
def test_an_attempt_beyond_the_last_is_given_up_too(policy: RetryPolicy, beyond: int) -> None:
    assert policy.after_failure(policy.max_attempts + beyond) == GiveUp()


def test_the_total_of_very_many_attempts_is_known_at_once() -> None:
    assert RetryPolicy.of((1.0, 2.0), max_attempts=10**12).total_seconds == 1.0 + 2.0 * (10**12 - 2)


@pytest.mark.parametrize("attempts", [0, -1])
def test_less_than_one_attempt_is_refused(attempts: int) -> None:
    with pytest.raises(ConfigurationError, match="max_attempts"):
        RetryPolicy.of((), attempts)


@pytest.mark.parametrize("delay", [-1.0, math.nan, math.inf, -math.inf])
def test_a_delay_that_is_no_time_is_refused(delay: float) -> None:
    with pytest.raises(ConfigurationError, match="delays"):
        RetryPolicy.of((1.0, delay))
