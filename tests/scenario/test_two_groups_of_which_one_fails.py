from __future__ import annotations

from collections.abc import Callable

from bus.deadletters import Reason
from tests.scenario.stage import Stage


def test_a_group_that_fails_neither_stops_nor_repeats_the_other(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(groups=("billing", "mailing"), partitions=2)
    billing, mailing = stage.shop.plan.handlers[0].group, stage.shop.plan.handlers[1].group
    orders = ["ok", f"fail@{mailing}", "ok", f"fail@{mailing}"] * 5
    sent = stage.send(*orders, keys=["a", "b", "c", None])
    worker = stage.worker()
    stage.wait_settled(worker)

    failing = stage.numbers(*[each for each in sent if each.order != "ok"])
    assert stage.handled(billing) == stage.numbers()
    assert len(stage.effects.read("started", billing)) == len(sent)
    assert stage.handled(mailing) == [number for number in stage.numbers() if number not in failing]
    letters = stage.dead_letters()
    assert sorted(letter.event_id or "" for letter in letters) == sorted(sent[number].event_id for number in failing)
    assert {(letter.group, letter.reason, letter.attempts) for letter in letters} == {(mailing, Reason.EXHAUSTED, 4)}
    for number in failing:
        started = [each for each in stage.effects.read("started", mailing) if each.number == number]
        assert [each.attempt for each in started] == [1, 2, 3, 4]


def test_each_group_runs_in_a_worker_of_its_own_and_reads_all(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(groups=("billing", "mailing"), partitions=2)
    stage.send(*["ok"] * 20, keys=["a", "b"])
    workers = {group: stage.worker(groups=[group]) for group in stage.shop.plan.groups}
    stage.wait_settled(*workers.values())
    for group, worker in workers.items():
        assert stage.handled(group) == stage.numbers()
        assert {each.pid for each in stage.effects.read("done", group)} == {worker.pid}
