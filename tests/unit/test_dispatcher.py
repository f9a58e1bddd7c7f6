"""The dispatcher's promises, one round at a time: nothing lost, nothing twice, nothing stuck."""

from __future__ import annotations

from bus.errors import PermanentError
from bus.ledger import Status
from tests.unit.dispatch_stage import P0, P1, stage


def fail_for_good() -> None:
    raise PermanentError("no")


def test_a_second_copy_that_is_alone_in_its_round_waits_for_the_first() -> None:
    its = stage(P0, P1)
    its.read(P0, (0, None, "a"))
    its.round()  # the first copy is with a handler
    its.read(P1, (0, None, "a"))
    its.round(3)

    its.settle(1.0)

    assert its.handled == ["a"]
    assert its.dispatcher.committable == {P0: 1, P1: 1}


def test_a_record_read_again_while_its_handler_still_runs_is_finished_with_it() -> None:
    its = stage(P0)
    its.read(P0, (0, None, "a"))
    its.round()
    its.revoke(P0)
    its.release(P0)
    its.dispatcher.assign([P0])
    its.read(P0, (0, None, "a"))
    its.round(3)
    (zombie,) = its.pool.waiting
    zombie.stop = False  # it had begun before the partition was taken away

    its.settle(1.0)

    assert its.handled == ["a"]
    assert its.dispatcher.committable == {P0: 1}


def test_nothing_runs_beside_a_suspect_while_other_answers_come_in() -> None:
    its = stage(P0, P1)
    its.does["dead"] = fail_for_good
    its.read(P1, (0, None, "dead"))
    its.round()
    its.perform()
    its.round()  # its dead letter is on the way
    its.ledger.foreign("suspect", alive=False)
    its.read(P0, (0, None, "suspect"))
    its.round(4)
    assert [work.event_id for job in its.pool.waiting for work in job.works] == ["suspect"]
    assert its.ledger.entries["suspect"].alone

    its.read(P0, (1, None, "next"))
    its.outbox.sent[0].acknowledge()
    its.round(4)

    assert its.status("dead") is Status.FAILED
    assert [work.event_id for job in its.pool.waiting for work in job.works] == ["suspect"]
    its.settle()
    assert its.handled == ["dead", "suspect", "next"]
