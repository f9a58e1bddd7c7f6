"""Registering handlers: what can't work is refused at start, in words."""

from __future__ import annotations

from typing import Any

import pytest

from bus import conf, handlers
from bus.envelope import Metadata
from bus.errors import ConfigurationError
from bus.handlers import Handler, Registry, handler
from bus.retry import RetryPolicy

EMAIL, ANALYTICS = "email-service-group", "analytics-service-group"


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry of the test's own."""
    own = Registry()
    monkeypatch.setattr(handlers, "registry", own)
    return own


def nothing(data: Any, metadata: Metadata) -> None:
    """A handler that does nothing."""


def other(data: Any, metadata: Metadata) -> None:
    """Another one."""


async def later(data: Any, metadata: Metadata) -> None:
    """An async one."""


def registered(**options: Any) -> Handler:
    handler("order.created", group=EMAIL, **options)(nothing)
    return handlers.registry.for_group(EMAIL)["order.created"]


def test_a_handler_is_found_by_group_and_topic(registry: Registry) -> None:
    handler("order.created", "order.shipped", group=EMAIL)(nothing)
    handler("order.created", group=ANALYTICS)(other)

    assert set(registry.for_group(EMAIL)) == {"order.created", "order.shipped"}
    assert registry.for_group(EMAIL)["order.shipped"].function is nothing
    assert registry.for_group("unknown") == {}
    assert registry.groups() == [ANALYTICS, EMAIL]
    assert registry.groups_for("order.created") == [ANALYTICS, EMAIL]
    assert registry.groups_for("order.shipped") == [EMAIL]
    assert registry.groups_for("no.such") == []
    assert [each.function for each in registry.all()] == [nothing, other]


def test_registering_leaves_the_function_as_it_is() -> None:
    assert handler("order.created", group=EMAIL)(nothing) is nothing


def test_sync_and_async_functions_are_told_apart() -> None:
    assert not registered().is_async
    handler("order.shipped", group=EMAIL)(later)
    assert handlers.registry.for_group(EMAIL)["order.shipped"].is_async


def test_a_handler_names_itself_for_logs() -> None:
    assert registered().name == f"{__name__}.nothing"


def test_the_settings_policy_is_the_default() -> None:
    with conf.override(retry_delays=(1.0, 2.0)):
        assert registered().policy == RetryPolicy((1.0, 2.0), 3)


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        ({"delays": [1, 2]}, RetryPolicy((1.0, 2.0), 3)),
        ({"delays": (each for each in (7,))}, RetryPolicy((7.0,), 2)),
        ({"delays": []}, RetryPolicy((), 1)),
        ({"max_attempts": 1}, RetryPolicy((5.0, 10.0, 20.0), 1)),
        ({"max_attempts": 9, "delays": [3]}, RetryPolicy((3.0,), 9)),
    ],
)
def test_a_handlers_own_retries_win_over_the_settings(options: dict[str, Any], policy: RetryPolicy) -> None:
    with conf.override(retry_delays=(5.0, 10.0, 20.0)):
        assert registered(**options).policy == policy


def test_a_handler_takes_all_priorities_or_those_it_names() -> None:
    assert all(registered().wants(priority) for priority in ("critical", "high", "normal", "low"))
    handler("order.shipped", group=EMAIL, priorities=["critical", "high"])(nothing)
    picky = handlers.registry.for_group(EMAIL)["order.shipped"]

    assert [priority for priority in ("critical", "high", "normal", "low") if picky.wants(priority)] == [
        "critical",
        "high",
    ]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"delays": [-1]}, "delays"),
        ({"delays": [float("nan")]}, "delays"),
        ({"delays": ["soon"]}, "delays"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"priorities": ["urgent"]}, "priorities"),
        ({"priorities": "high"}, "priorities"),
        ({"priorities": []}, "priorities"),
        ({"permanent": ValueError}, "permanent"),
        ({"permanent": ("ValueError",)}, "permanent"),
    ],
)
def test_an_option_that_cannot_work_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        registered(**options)


def test_a_handler_without_a_topic_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=EMAIL):
        handler(group=EMAIL)


def test_two_handlers_for_one_group_and_topic_are_a_problem_that_names_both() -> None:
    handler("order.created", group=EMAIL)(nothing)
    handler("order.created", "order.shipped", group=EMAIL)(other)
    (problem,) = handlers.problems()

    for word in (f"{__name__}.nothing", f"{__name__}.other", "order.created", EMAIL):
        assert word in problem
    assert handlers.registry.for_group(EMAIL)["order.created"].function is nothing


def test_the_same_topic_in_two_groups_is_no_problem() -> None:
    handler("order.created", group=EMAIL)(nothing)
    handler("order.created", group=ANALYTICS)(nothing)

    assert handlers.problems() == []


def test_an_unknown_group_or_topic_is_a_problem() -> None:
    handler("no.such", group="nobody")(nothing)
    topic_problem, group_problem = sorted(handlers.problems(), key=lambda problem: "group" in problem)

    assert "'no.such'" in topic_problem
    assert "'nobody'" in group_problem


def test_retries_longer_than_the_deduplication_remembers_are_a_problem() -> None:
    handler("order.created", group=EMAIL, delays=[31])(nothing)
    with conf.override(dedup_seconds=60, retry_delays=(1.0,)):
        (problem,) = handlers.problems()
    assert "31 s" in problem

    with conf.override(dedup_seconds=62, retry_delays=(1.0,)):
        assert handlers.problems() == []


def test_very_many_attempts_are_a_problem_and_not_a_long_wait() -> None:
    handler("order.created", group=EMAIL, delays=[1], max_attempts=10**12)(nothing)

    assert len(handlers.problems()) == 1


def test_outside_a_handler_there_is_no_current_delivery() -> None:
    with pytest.raises(RuntimeError):
        handlers.current()
