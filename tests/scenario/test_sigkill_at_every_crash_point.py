"""A worker is killed at each step between polling and committing; a second one goes on.

Nothing is ever lost. An event is handled twice only if its worker died between the effect and its record.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from tests.scenario.stage import PATIENCE, Stage

NONE: frozenset[int] = frozenset()
ALL = frozenset({0, 1, 2})
# One key and one poll, so that the three are one run of one handler thread.
THREE = ("ok", "ok", "ok")


@dataclass(frozen=True)
class Row:
    """A crash point, and what it may lead to. Numbers are those of events."""

    name: str
    point: str
    orders: Sequence[str] = THREE
    surely_twice: frozenset[int] = NONE
    maybe_twice: frozenset[int] = NONE
    letters: Sequence[int] = (0,)
    """How many records in the dead letter topic the crash may lead to; they are all of one event."""
    attempts: dict[int, list[int]] = field(default_factory=dict)
    """The attempts that were started of some events."""


UP_TO_THE_EFFECT = [
    Row("polled, not taken in", "bus.consumer.dispatcher:Dispatcher.take_in:before"),
    Row("taken in, not claimed", "bus.consumer.progress:Progress.take_in:after"),
    Row("claimed, not started", "bus.ledger:Ledger.exchange:after", attempts={0: [1], 1: [1], 2: [1]}),
    Row("started, no effect yet", "bus.consumer.executor:Executor.run:before:3", maybe_twice=frozenset({0, 1})),
    Row("killed by its handler", "", ("ok", "ok", "kill:1"), maybe_twice=frozenset({0, 1}), attempts={2: [1, 1]}),
    Row(
        "effect done, not recorded",
        "bus.consumer.executor:Executor.run:after:3",
        surely_twice=frozenset({2}),
        maybe_twice=ALL,
    ),
    Row("failed, not recorded", "bus.consumer.journal:Journal.retrying:before", ("fail:1",), attempts={0: [1, 1, 2]}),
    Row("retry recorded", "bus.ledger:Ledger.exchange:after:2", ("fail:1",), attempts={0: [1, 2]}),
]
AFTER_THE_EFFECT = [
    Row("recorded, not finished", "bus.consumer.progress:Progress.finish:before"),
    Row("finished, not committed", "bus.consumer.offsets:Watermark.finish:after:3"),
    Row("committed", "bus.kafka.consumer:RecordConsumer._committed:after"),
    Row(
        "dead letter sent, not acknowledged",
        "bus.consumer.burial:Burial.bury:after",
        ("permanent", "ok"),
        letters=(1, 2),
        attempts={0: [1, 1]},
    ),
    Row(
        "dead letter acknowledged, not settled",
        "bus.consumer.journal:Journal.dead_lettered:before",
        ("permanent", "ok"),
        letters=(2,),
        attempts={0: [1, 1]},
    ),
    Row(
        "dead letter settled, not committed",
        "bus.consumer.progress:Progress.finish:after",
        ("permanent",),
        letters=(1,),
        attempts={0: [1]},
    ),
]


@pytest.mark.parametrize(
    "rows",
    [UP_TO_THE_EFFECT, AFTER_THE_EFFECT],
    ids=["up to the effect", "after the effect"],
)
def test_no_event_is_lost_and_none_repeated_but_between_effect_and_record(
    open_stage: Callable[..., Stage], rows: Sequence[Row]
) -> None:
    stages = [open_stage(partitions=1, settings={"BUS_LEASE_SECONDS": "1"}) for _ in rows]
    for row, stage in zip(rows, stages, strict=True):
        stage.send(*row.orders, keys=["key"])
    victims = [stage.worker(crash_at=[row.point] if row.point else []) for row, stage in zip(rows, stages, strict=True)]
    assert [victim.wait(PATIENCE) for victim in victims] == [-signal.SIGKILL] * len(rows)
    heirs = [stage.worker() for stage in stages]
    for row, stage, heir in zip(rows, stages, heirs, strict=True):
        stage.wait_settled(heir)
        check(row, stage)


def check(row: Row, stage: Stage) -> None:
    times = Counter(stage.handled())
    wanted = {number for number, order in enumerate(row.orders) if order != "permanent"}
    assert set(times) == wanted, row.name
    twice = {number for number, count in times.items() if count == 2}
    assert max(times.values(), default=0) <= 2, row.name
    assert row.surely_twice <= twice <= row.maybe_twice, row.name
    letters = stage.dead_letters()
    assert len(letters) in row.letters, row.name
    assert {(each.group, each.event_id, each.generation) for each in letters} <= {
        (stage.group, stage.sent[0].event_id, 0)
    }, row.name
    for number, attempts in row.attempts.items():
        started = [each.attempt for each in stage.effects.read("started", stage.group) if each.number == number]
        assert started == attempts, row.name
