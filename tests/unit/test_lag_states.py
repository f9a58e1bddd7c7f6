"""What was measured of a group, put together: ages, reasons, members."""

from __future__ import annotations

from typing import Any

import pytest

from bus.kafka.groups import GroupDescription, Member
from bus.lag.arithmetic import Flow
from bus.lag.reasons import sentence
from bus.lag.states import Holding, Seen, group_fields, holdings, partition_of
from bus.presence import GroupPresence, Wait, Why, WorkerPresence

NOW_MS = 1_000_000


def seen(number: int, lag: int = 5, **more: Any) -> Seen:
    return Seen("t", number, 100, 100 - lag, Flow(lag, 1.0, 0.0), lag, **more)


def waiting(why: Why, lag: int = 5, **more: str) -> dict[str, Any]:
    return {"lag": lag, "waits": {"why": why, "detail": "", "key": "", "error": "", **more}}


def test_the_age_is_that_of_the_oldest_event_that_a_worker_has() -> None:
    assert seen(0, holding=Holding("w", 3, NOW_MS - 4500), written_ms=1).age_seconds(NOW_MS) == 4.5


def test_without_a_worker_it_is_that_of_the_record_at_the_commit() -> None:
    assert seen(0, written_ms=NOW_MS - 2000).age_seconds(NOW_MS) == 2
    assert seen(0).wants_time
    assert seen(0).age_seconds(NOW_MS) is None


def test_a_worker_with_nothing_in_hand_is_believed_for_a_moment_only() -> None:
    """What it has handled is committed within seconds; a commit that doesn't move tells that it doesn't get on."""
    assert seen(0, holding=Holding("w"), still_seconds=2).age_seconds(NOW_MS) == 0
    stalled = seen(0, holding=Holding("w"), still_seconds=6)
    assert stalled.wants_time
    assert stalled.age_seconds(NOW_MS) is None


def test_without_lag_nothing_is_old_and_clocks_that_differ_give_no_negative_age() -> None:
    assert seen(0, lag=0, holding=Holding("w", 1, 1)).age_seconds(NOW_MS) == 0
    assert not seen(0, lag=0).wants_time
    assert seen(0, written_ms=NOW_MS + 5000).age_seconds(NOW_MS) == 0


def test_a_group_is_as_late_as_its_latest_partition_and_drains_with_its_slowest() -> None:
    its = [seen(0, lag=10, written_ms=NOW_MS - 1000), seen(1, lag=30, written_ms=NOW_MS - 9000), seen(2, lag=0)]
    fields = group_fields(its, NOW_MS, description=None, workers=[])
    assert (fields["lag"], fields["time_lag_seconds"], fields["drain_seconds"]) == (40, 9.0, 30.0)
    assert group_fields([seen(2, lag=0)], NOW_MS, description=None, workers=[])["time_lag_seconds"] == 0
    assert group_fields([seen(2)], NOW_MS, description=None, workers=[])["time_lag_seconds"] is None


def test_what_nobody_knows_is_not_told_as_known() -> None:
    """Redis is away: whether a worker has the partition isn't known."""
    fields = group_fields([seen(0)], NOW_MS, description=None, workers=None)
    assert (fields["reason"], fields["members"]) == ("", None)
    assert group_fields([seen(0)], NOW_MS, description=None, workers=[])["reason"] == "No worker runs."


def test_a_member_that_kafka_names_has_its_partition() -> None:
    description = GroupDescription("stable", (Member("m-1", "w-1", "10.0.0.1", (("t", 0),)),))
    fields = group_fields([seen(0, member="w-1")], NOW_MS, description=description, workers=["w-1"])
    assert fields["reason"] == ""
    assert fields["member_details"] == [
        {"id": "m-1", "client": "w-1", "host": "10.0.0.1", "worker": "w-1", "partitions": ["t[0]"]}
    ]


def test_partitions_are_named_as_workers_name_them() -> None:
    assert partition_of("order.created[3]") == ("order.created", 3)
    assert [partition_of(name) for name in ("x", "[3]", "x[-1]", "x[a]", "")] == [None] * 5


def test_of_two_workers_that_say_they_have_a_partition_the_newer_word_counts() -> None:
    def worker(name: str, seen_at: float) -> WorkerPresence:
        group = GroupPresence("g", {"t[0]": 1, "odd": 1}, 0.0, 0, 0.0, 0)
        return WorkerPresence(name, "h", 1, "b", "1", 8, 0.0, seen_at, "running", (group,))

    found = holdings("g", [worker("new", 9.0), worker("old", 5.0)])
    assert {place: each.worker for place, each in found.items()} == {("t", 0): "new"}
    assert holdings("other", [worker("new", 9.0)]) == {}


@pytest.mark.parametrize(
    ("partitions", "expected"),
    [
        ([], ""),
        ([{"lag": 5, "waits": None}], ""),
        ([waiting(Why.RETRY, lag=0, error="E")], ""),
        ([waiting(Why.RETRY, error="SmtpError", key="k")] + [{"lag": 0, "waits": None}] * 5,
         "1 of 6 partitions waits for a retry after SmtpError, key k."),
        ([waiting(Why.RETRY, error="SmtpError")] * 3 + [{"lag": 0, "waits": None}] * 3,
         "3 of 6 partitions wait for retries of SmtpError."),
        ([waiting(Why.RETRY, error="A")] * 2 + [waiting(Why.RETRY, error="B")],
         "All 3 partitions wait for retries of A and another error."),
        ([waiting(Why.NO_WORKER)] * 2, "No worker runs."),
        ([waiting(Why.NO_WORKER), {"lag": 1, "waits": None}], "1 of 2 partitions has no worker."),
        ([waiting(Why.PAUSED, lag=0, detail="the group is paused")] * 2,
         "All 2 partitions are paused: the group is paused."),
        ([waiting(Why.RETRY, error="E"), waiting(Why.DEAD_LETTER, error="Full")],
         "1 of 2 partitions waits until a dead letter can be written: Full. Others wait for another reason."),
        ([waiting(Why.STUCK, detail="charge has been at work for 90 s")],
         "Its only partition waits for a handler that doesn't come back: charge has been at work for 90 s."),
    ],
)  # fmt: skip
def test_the_reason_is_one_sentence(partitions: list[dict[str, Any]], expected: str) -> None:
    assert sentence(partitions) == expected


@pytest.mark.parametrize("why", list(Why))
def test_every_reason_has_a_sentence(why: Why) -> None:
    for count in (1, 2):
        told = sentence([waiting(why, error="E", detail="d")] * count + [{"lag": 0, "waits": None}])
        assert told.endswith(".")
        assert "\n" not in told


def test_a_reason_of_a_later_release_does_no_harm() -> None:
    assert sentence([{"lag": 5, "waits": {"why": "bored", "detail": "", "key": "", "error": ""}}]) == ""
    wait = Wait("bored", "d")
    fields = group_fields([seen(0, holding=Holding("w", 1, 1, wait))], NOW_MS, description=None, workers=["w"])
    assert fields["partitions"][0]["waits"]["why"] == "bored"
