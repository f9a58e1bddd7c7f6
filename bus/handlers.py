"""Handlers: who wants which events, and how they are to be run.

    @handler("order.created", group="notification-service-group")
    def send_confirmation(data, metadata): ...

They live in `handlers.py` of any installed app, which is imported at start. Two handlers for the same group and topic
are an error that `manage.py check` reports: one group sees an event once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from bus import catalog, conf
from bus.catalog import Priority
from bus.envelope import Metadata
from bus.errors import ConfigurationError
from bus.retry import RetryPolicy

Function = Callable[[Any, Metadata], Any]
F = TypeVar("F", bound=Callable[..., Any])


class Delivery(NamedTuple):
    """Where and how often the event that a handler runs for was delivered; see `current()`."""

    group: str
    topic: str
    partition: int
    offset: int
    attempt: int
    generation: int
    worker: str


@dataclass(frozen=True, slots=True)
class Handler:
    """A function and the options it was registered with."""

    group: str
    topics: tuple[str, ...]
    function: Function
    max_attempts: int | None = None
    delays: tuple[float, ...] | None = None
    timeout: float | None = None
    exactly_once: bool = False
    permanent: tuple[type[Exception], ...] = ()
    priorities: frozenset[str] | None = None
    is_async: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_async", inspect.iscoroutinefunction(self.function))

    @property
    def name(self) -> str:
        """`module.function`, for logs and errors."""
        return f"{self.function.__module__}.{getattr(self.function, '__qualname__', self.function)}"

    @property
    def policy(self) -> RetryPolicy:
        """The handler's own retry policy, or the one of the settings."""
        delays = conf.current().retry_delays if self.delays is None else self.delays
        return RetryPolicy.of(delays, self.max_attempts)

    def wants(self, priority: str) -> bool:
        """Whether the handler takes events of this priority."""
        return self.priorities is None or priority in self.priorities


_delivery: ContextVar[Delivery | None] = ContextVar("bus_delivery", default=None)


def current() -> Delivery:
    """The delivery that this handler runs for. Raises RuntimeError outside a handler."""
    delivery = _delivery.get()
    if delivery is None:
        raise RuntimeError("bus.handlers.current() has an answer only inside a handler")
    return delivery


class Registry:
    """All handlers of the process, by group and topic."""

    def __init__(self) -> None:
        self._handlers: dict[str, dict[str, Handler]] = {}
        self.conflicts: list[tuple[Handler, Handler, str]] = []

    def add(self, handler: Handler) -> None:
        """Register; the first of two for the same group and topic stays, the second is a conflict."""
        for topic in handler.topics:
            mine = self._handlers.setdefault(handler.group, {})
            first = mine.setdefault(topic, handler)
            if first is not handler and first.function is not handler.function:
                self.conflicts.append((first, handler, topic))

    def for_group(self, group: str) -> dict[str, Handler]:
        """The group's handlers by topic; empty when it has none."""
        return dict(self._handlers.get(group, {}))

    def groups(self) -> list[str]:
        """Groups that have a handler, sorted."""
        return sorted(self._handlers)

    def groups_for(self, topic: str) -> list[str]:
        """Groups that have a handler for the topic, sorted."""
        return sorted(group for group, handlers in self._handlers.items() if topic in handlers)

    def all(self) -> Iterable[Handler]:
        """Every handler once."""
        return {id(h): h for handlers in self._handlers.values() for h in handlers.values()}.values()

    def clear(self) -> None:
        """Forget everything; for tests."""
        self._handlers.clear()
        self.conflicts.clear()


registry = Registry()


def handler(
    *topics: str,
    group: str,
    max_attempts: int | None = None,
    delays: Iterable[float] | None = None,
    timeout: float | None = None,
    exactly_once: bool = False,
    permanent: tuple[type[Exception], ...] = (),
    priorities: Iterable[str] | None = None,
) -> Callable[[F], F]:
    """Register a sync or async function `(data, metadata)` for the events of some topics, on behalf of a group.

    `max_attempts`, `delays` (seconds) override the retry settings; `timeout` is in seconds (it cancels an async
    handler; a sync one is reported as stuck); `exactly_once` commits the handler's database work together with a note
    that this event is done; exceptions of the classes in `permanent` are not retried; `priorities` limits the handler
    to events of these, others are settled as skipped.

    Raises ConfigurationError for an option that can't work.
    """
    if not topics:
        raise ConfigurationError(f"a handler of group {group!r} names no topic")
    if timeout is not None and not timeout > 0:
        raise ConfigurationError(f"timeout is {timeout}, allowed are seconds > 0")
    wanted = None if priorities is None else frozenset(str(priority) for priority in priorities)
    if wanted is not None and (not wanted or wanted - set(Priority)):
        raise ConfigurationError(f"priorities are {sorted(wanted)}, allowed are some of {', '.join(Priority)}")
    if not _are_exceptions(permanent):
        raise ConfigurationError(f"permanent is {permanent!r}, allowed is a tuple of exception classes")
    try:
        waits = None if delays is None else tuple(float(delay) for delay in delays)
    except (TypeError, ValueError):
        raise ConfigurationError(f"delays are {delays!r}, allowed are finite seconds ≥ 0") from None
    RetryPolicy.of(waits or (), max_attempts)

    def register(function: F) -> F:
        registry.add(Handler(group, topics, function, max_attempts, waits, timeout, exactly_once, permanent, wanted))
        return function

    return register


def _are_exceptions(found: object) -> bool:
    return isinstance(found, tuple) and all(isinstance(each, type) and issubclass(each, Exception) for each in found)


def problems() -> list[str]:
    """What is wrong with the registered handlers, each with its remedy; for the system check and for start-up."""
    found = [
        f"{second.name} and {first.name} both handle {topic} for {first.group}; a group sees an event once, so join "
        "them or use a second group"
        for first, second, topic in registry.conflicts
    ]
    longest = conf.current().dedup_seconds / 2
    for each in registry.all():
        if each.group not in catalog.groups():
            found.append(f"{each.name}: group {each.group!r} is not in the catalog; add it with catalog.add_group()")
        for topic in each.topics:
            if catalog.topic(topic) is None:
                found.append(f"{each.name}: topic {topic!r} is not in the catalog; add it with catalog.add_topic()")
        if each.policy.total_seconds > longest:
            found.append(
                f"{each.name}: its delays sum up to {each.policy.total_seconds:g} s, allowed is {longest:g} (half of "
                "BUS_DEDUP_SECONDS): an event must not be forgotten while it waits for its retry"
            )
    return found
