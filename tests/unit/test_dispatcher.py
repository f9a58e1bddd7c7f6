"""The dispatcher's promises, one round at a time: nothing lost, nothing twice, nothing stuck."""

from __future__ import annotations

from bus.consumer.pool import Job
from bus.errors import PermanentError
from bus.ledger import Status
from tests.unit.dispatch_stage import P0, P1, Stage, stage


def fail() -> None:
    raise ValueError("no")


def fail_for_good() -> None:
    raise PermanentError("no")


def warm_up(its: Stage) -> None:
    """Let the dispatcher see that handlers are fast, so that its runs are long."""
    for first in range(0, 64, 8):
        its.read(P0, *((at, "w", f"w{at}") for at in range(first, first + 8)))
        its.clock.now += 0.1
        its.settle()


def hang(its: Stage) -> Job:
    """Have the first event of the first job begin, and not end."""
    job = its.pool.waiting.pop(0)
    assert job._next(its.clock) is job.works[0]
    return job


def come_back(its: Stage, job: Job) -> None:
    """Let the handler that hung be done, and the job go on."""
    assert job.current is not None
    job._goes_on_after(job._executor.run(job.current))
    job.perform(its.clock)


def idle_down(its: Stage) -> None:
    """Let the dispatcher see a low rate."""
    for at in range(800, 820):
        its.read(P0, (at, f"idle{at}", f"i{at}"))
        its.clock.now += 1.0
        its.settle()


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
    zombie = hang(its)
    its.revoke(P0)
    its.release(P0)
    its.dispatcher.assign([P0])
    its.read(P0, (0, None, "a"))
    its.settle(1.0)
    assert its.dispatcher.held(P0)[0] == 1

    come_back(its, zombie)
    its.settle(1.0)

    assert its.handled == ["a"]
    assert its.dispatcher.committable == {P0: 1}
    assert its.dispatcher.held(P0) == (0, 0)


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


def events_given_in(its: Stage) -> list[str]:
    return [work.event_id for job in its.pool.waiting for work in job.works]


def test_many_events_of_one_key_leave_room_for_other_keys() -> None:
    its = stage(P0)
    its.read(P0, *((at, "slow", f"s{at}") for at in range(40)))
    its.round(3)
    its.read(P0, (40, "other", "quick"))
    its.round(3)

    assert "quick" in events_given_in(its)


def test_a_handler_that_hangs_leaves_room_for_other_keys() -> None:
    its = stage(P0)
    warm_up(its)
    its.read(P0, *((at, "slow", f"s{at}") for at in range(100, 164)))
    its.round()
    hung = hang(its)

    idle_down(its)
    its.read(P0, (900, "other", "quick"))
    its.round(3)

    assert "quick" in events_given_in(its)
    assert hung.current is not None


def test_what_a_hung_handler_holds_up_is_free_for_others() -> None:
    its = stage(P0, concurrency=1)
    warm_up(its)
    its.read(P0, *((at, None, f"e{at}") for at in range(100, 120)))
    its.round(2)
    hung = hang(its)
    assert len(hung.works) > 1

    its.clock.now += its.dispatcher.settings.stuck_seconds + 1
    its.settle()

    assert sorted(its.handled[-19:]) == [f"e{at}" for at in range(101, 120)]
    assert its.status("e100") is Status.PROCESSING


def test_a_hung_handler_keeps_only_its_own_event_when_the_partition_is_taken_away() -> None:
    its = stage(P0, concurrency=1)
    warm_up(its)
    its.read(P0, *((at, "key", f"e{at}") for at in range(100, 120)))
    its.round(2)
    hung = hang(its)
    assert len(hung.works) > 1

    its.revoke(P0)
    its.release(P0)

    assert [name for name, entry in its.ledger.entries.items() if entry.status is Status.PROCESSING] == ["e100"]


def test_events_of_a_key_keep_their_order_after_a_hung_handler_comes_back() -> None:
    its = stage(P0, concurrency=1)
    warm_up(its)
    its.read(P0, *((at, "key", f"e{at}") for at in range(100, 110)))
    its.round(2)
    hung = hang(its)
    its.clock.now += its.dispatcher.settings.stuck_seconds + 1
    its.settle()
    assert its.handled[-1] == "w63"

    come_back(its, hung)
    its.settle()

    assert its.handled[-10:] == [f"e{at}" for at in range(100, 110)]
    assert its.dispatcher.committable[P0] == 110
    assert its.dispatcher.held(P0) == (0, 0)


def test_dead_letters_that_cannot_be_written_leave_room_for_other_partitions() -> None:
    its = stage(P0, P1)
    for at in range(40):
        its.does[f"d{at}"] = fail_for_good
    its.read(P0, *((at, f"k{at}", f"d{at}") for at in range(40)))
    its.settle()
    assert len(its.outbox.sent) == 40  # and none is acknowledged

    its.read(P1, (0, "key", "fine"))
    its.settle()

    assert its.handled[-1] == "fine"
    assert P0 not in its.dispatcher.committable


def test_a_retry_that_is_due_while_all_handlers_are_busy_is_waited_for_in_peace() -> None:
    its = stage(P0, concurrency=1)
    its.does["again"] = fail
    its.read(P0, (0, "a", "again"))
    its.settle()
    its.read(P0, *((at, f"k{at}", f"e{at}") for at in range(1, 9)))
    its.round(3)

    its.clock.now += 60
    its.round(2)

    assert its.dispatcher._rest() > 0.1
