from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable

from bus.deadletters import Reason
from tests.scenario.stage import Stage
from tests.worker.process import Worker

INNOCENTS = 499
QUICKLY_BACK = {"BUS_LEASE_SECONDS": "1"}


def supervise(stage: Stage, settled: Callable[[Worker], None]) -> int:
    """Start a worker, and another one whenever it dies, until all is settled. Returns how many were killed."""
    killed = 0
    while True:
        worker = stage.worker("--processes", "1", "--concurrency", "4")
        try:
            settled(worker)
        except Exception:
            if worker.wait(0.1) != -signal.SIGKILL:
                raise
            killed += 1
            assert killed < 10
        else:
            return killed


def test_one_dead_letter_and_499_events_handled_when_an_event_kills_every_worker_that_runs_it(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(partitions=1, settings=QUICKLY_BACK)
    keys = [f"key-{number}" for number in range(40)]
    innocents = stage.send(*["ok"] * 250, keys=keys)
    [killer] = stage.send("kill", keys=["key-7"])
    innocents += stage.send(*["ok"] * (INNOCENTS - 250), keys=keys)

    killed = supervise(stage, stage.wait_settled)

    [letter] = stage.dead_letters()
    assert (letter.event_id, letter.reason, letter.generation) == (killer.event_id, Reason.CRASH, 0)
    assert set(stage.handled()) == set(stage.numbers(*innocents))
    # Twice at most those that were between effect and record when the worker died in their company.
    assert max(Counter(stage.handled()).values()) <= 2
    # Once among others, then alone as often as BUS_CRASH_LIMIT says.
    starts = [each for each in stage.effects.read("started") if each.number == killer.number]
    assert len(starts) == killed == 3
    in_order = [number for number in stage.effects.done() if stage.sent[number].key == "key-7"]
    assert list(dict.fromkeys(in_order)) == stage.numbers(*[e for e in innocents if e.key == "key-7"])


def test_a_process_that_dies_is_started_again_by_its_parent(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(partitions=2, settings=QUICKLY_BACK)
    stage.send("kill:1", *["ok"] * 50, keys=[None, "a", "b", "c"])
    parent = stage.worker("--processes", "2")
    stage.wait_settled(parent)
    assert len(parent.log("worker_died")) == 1
    assert set(stage.handled()) == set(stage.numbers())
    assert stage.dead_letters() == []
    assert parent.sigterm(10) == 0
