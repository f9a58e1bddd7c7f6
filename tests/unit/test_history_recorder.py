"""Samples of what happened: exact against what was counted, and no zeros where nobody looked."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bus import history
from bus.activity import Activity, Outcome, bucket_of
from bus.errors import LedgerUnavailableError
from bus.history.recorder import Recorder, RecordingTakenError
from bus.models import RecordingPosition, Sample

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
Counts = Mapping[tuple[str, str, str], int]


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def key(entry_id: str) -> tuple[int, int]:
    ms, number = entry_id.split("-")
    return int(ms), int(number)


@dataclass
class Stream:
    """A capped stream whose clock is the tests'."""

    entries: list[Activity] = field(default_factory=list)
    is_away: bool = False
    reads: int = 0

    def latest_id(self) -> str:
        self._look()
        return self.entries[-1].id if self.entries else "0-0"

    def read(self, after: str, count: int = 100, block_ms: int = 0) -> list[Activity]:
        self._look()
        self.reads += 1
        return [each for each in self.entries if key(each.id) > key(after)][:count]

    def add(self, seconds: float, counts: Counts, durations: Mapping[int, int] | None = None) -> None:
        ms = round(at(seconds).timestamp() * 1000)
        number = sum(key(each.id)[0] == ms for each in self.entries)
        timed = [("t", "g", dict(durations))] if durations else []
        self.entries.append(Activity(f"{ms}-{number}", "w", ms, [(*k, n) for k, n in counts.items()], timed))

    def _look(self) -> None:
        if self.is_away:
            raise LedgerUnavailableError("away")


class Bench:
    """A recorder, and what it leans on."""

    def __init__(self) -> None:
        self.stream = Stream()
        self.seconds = 0.0
        self.gauges: dict[str, dict[str, float]] = {}
        self.recorder = self.another()

    def another(self) -> Recorder:
        return Recorder(self.stream, lambda: self.gauges, now=lambda: at(self.seconds), clock=lambda: self.seconds)

    def run_to(self, seconds: float, recorder: Recorder | None = None) -> None:
        """One step a second."""
        while self.seconds < seconds:
            self.seconds = min(self.seconds + 1, seconds)
            while (recorder or self.recorder).step():
                pass


@pytest.fixture
def bench() -> Bench:
    return Bench()


PUBLISHED = ("t", "", "published")
PROCESSED = ("t", "g", "processed")


def told(series: str = "outcomes", until: float = 120, step: int = 5) -> list[tuple[float, dict[str, Any]]]:
    """Points with values, by the second that they begin at."""
    points = history.points(series, NOON, at(until), step)
    return [((point.at - NOON).total_seconds(), dict(point.values)) for point in points if point.values]


def test_samples_add_up_to_what_was_counted(bench: Bench) -> None:
    bench.stream.add(1.2, {PUBLISHED: 3, PROCESSED: 2, ("t", "g", "processing"): 9})
    bench.stream.add(4.999, {PUBLISHED: 4})
    bench.stream.add(5.0, {PUBLISHED: 1, ("u", "h", "failed"): 2})
    bench.run_to(12)

    found = told()

    assert [second for second, _ in found] == [0, 5]
    assert [values["published"] * 5 for _, values in found] == [7, 1]
    assert [values["processed"] * 5 for _, values in found] == [2, 0]
    assert "processing" not in found[0][1]
    assert [values["failed"] * 5 for _, values in told("group:h")] == [2]
    assert [(second, values["published"] * 5) for second, values in told("topic:t")] == [(0, 7), (5, 1)]


def test_whatever_is_told_in_whatever_entries_is_in_the_samples_once(bench: Bench) -> None:
    draw = random.Random(7)
    total, per_group = 0, {"a": 0, "b": 0}
    for second in range(290):
        for number in range(draw.randrange(0, 5)):
            count, group = draw.randrange(1, 50), draw.choice("ab")
            bench.stream.add(second + number / 10, {("t", group, "processed"): count})
            total += count
            per_group[group] += count
        bench.run_to(second + 0.7)
    bench.run_to(362)

    for step in (5, 60):
        points = history.points("outcomes", NOON, at(300), step)
        assert round(sum(point.values["processed"] for point in points) * step, 1) == total
    for group, count in per_group.items():
        values = [point.values for point in history.points(f"group:{group}", NOON, at(300), 5) if point.values]
        assert round(sum(each["processed"] for each in values) * 5, 1) == count
    assert len(told(until=300, step=60)) == 5


def test_silence_is_zero_and_not_a_gap(bench: Bench) -> None:
    bench.gauges = {"group:g": {"lag": 0}}
    bench.run_to(16.5)

    # The first five seconds were watched in part only.
    assert [(second, values["published"]) for second, values in told()] == [(5, 0), (10, 0)]
    assert told("topic:any") == [(second, {"published": 0}) for second, _ in told()]
    assert told("group:g")[-1][1]["processed"] == 0


def test_nothing_is_written_before_its_time_is_over(bench: Bench) -> None:
    bench.stream.add(1, {PUBLISHED: 1})
    bench.run_to(5.5)
    assert told() == []
    bench.stream.add(4.9, {PUBLISHED: 1})
    bench.run_to(7)
    assert told()[0][1]["published"] * 5 == 2


def test_while_redis_is_away_there_are_no_zeros(bench: Bench) -> None:
    bench.gauges = {"lag": {"total": 7}}
    bench.run_to(11)
    bench.stream.is_away = True
    bench.run_to(27)
    bench.stream.is_away = False
    bench.stream.add(27.5, {PUBLISHED: 1})  # the rest of these seconds is lost
    bench.stream.add(31, {PUBLISHED: 2})
    bench.run_to(42)

    seconds = dict(told())
    assert set(seconds) & {10, 15, 20, 25} == set()
    assert seconds[30]["published"] * 5 == 2
    assert seconds[35]["published"] == 0
    assert [second for second, _ in told("lag")] == [0, 5, 10, 15, 20, 25, 30, 35]


def test_another_leader_goes_on_where_the_last_one_stopped(bench: Bench) -> None:
    bench.stream.add(1, {PUBLISHED: 1})
    bench.stream.add(6, {PUBLISHED: 2})
    bench.run_to(7)
    bench.stream.add(8, {PUBLISHED: 3})
    bench.stream.add(16, {PUBLISHED: 4})
    bench.seconds = 33
    bench.run_to(50, bench.another())

    found = {second: values["published"] * 5 for second, values in told()}

    assert {second: count for second, count in found.items() if count} == {0: 1, 5: 5, 15: 4}
    assert 10 not in found  # nobody looked, and nothing tells that nothing happened
    assert found[40] == 0


def test_entries_that_were_dropped_before_they_were_read_leave_a_gap(bench: Bench) -> None:
    bench.stream.add(1, {PUBLISHED: 1})
    bench.run_to(7)
    for second in (11, 12, 21, 26):
        bench.stream.add(second, {PUBLISHED: second})
    del bench.stream.entries[:3]
    bench.seconds = 27
    bench.run_to(40, bench.another())

    found = {second: values["published"] * 5 for second, values in told()}
    assert 10 not in found
    assert 20 not in found  # an earlier entry of these seconds may be among those dropped
    assert found[25] == 26


def test_a_redis_that_began_anew_with_an_earlier_clock_is_read_from_its_beginning(bench: Bench) -> None:
    bench.run_to(3)
    RecordingPosition.objects.update(stream_id=f"{round(at(10_000).timestamp() * 1000)}-0")
    bench.recorder = bench.another()
    bench.run_to(11)
    bench.stream.add(11.2, {PUBLISHED: 1})
    bench.run_to(18)
    assert {second: values["published"] * 5 for second, values in told()}[10] == 1


def test_what_another_process_has_recorded_is_not_recorded_twice(bench: Bench) -> None:
    bench.run_to(2)
    stalled = bench.recorder
    bench.stream.add(3, {PUBLISHED: 5})
    bench.seconds = 7

    def meanwhile() -> dict[str, dict[str, float]]:
        stalled._gauges = dict
        bench.run_to(13, bench.another())
        return {}

    stalled._gauges = meanwhile
    with pytest.raises(RecordingTakenError):
        stalled.step()
    bench.run_to(20, stalled)
    assert {second: values["published"] * 5 for second, values in told()}[0] == 5
    assert sum(values["published"] * 5 for _, values in told()) == 5


def test_entries_told_late_are_added_to_what_is_written(bench: Bench) -> None:
    """The monitor's clock is ahead of that of Redis."""
    bench.gauges = {"group:g": {"lag": 3}}
    bench.stream.add(1, {PUBLISHED: 1, PROCESSED: 1})
    bench.run_to(7)
    bench.stream.add(4, {PUBLISHED: 2, PROCESSED: 2})
    bench.run_to(13)
    assert {second: values["published"] * 5 for second, values in told()}[0] == 3
    assert told("group:g")[0][1]["processed"] * 5 == 3
    assert told("group:g")[0][1]["lag"] == 3


def test_handling_times_are_those_of_all_that_ran(bench: Bench) -> None:
    bench.stream.add(1, {PROCESSED: 95}, {bucket_of(10): 95})
    bench.stream.add(2, {PROCESSED: 5}, {bucket_of(1000): 5})
    bench.stream.add(12, {PROCESSED: 1}, {bucket_of(3): 1})
    bench.run_to(66)
    [(_, first), (second, _)] = told("handling")
    assert second == 10
    assert 10 <= first["p50"] <= 11
    assert 10 <= first["p95"] <= 11
    [(_, minute)] = told("handling", step=60)
    assert minute["p50"] == pytest.approx(first["p50"], abs=0.5)
    assert told("group:g")[0][1]["p50"] == first["p50"]


def test_a_minute_has_the_largest_lag_the_last_count_and_all_new_dead_letters(bench: Bench) -> None:
    for number, (lag, count, new) in enumerate([(5, 1, 2), (90, 3, 0), (7, 2, 4)]):
        bench.gauges = {
            "lag": {"total": lag, "worstSeconds": lag},
            "workers": {"count": count},
            "dead-letters": {"open": lag, "new": new},
        }
        bench.run_to(6.5 + 5 * number)
    bench.gauges = {}
    bench.run_to(62)
    assert told("lag", step=60) == [(0, {"total": 90, "worstSeconds": 90})]
    assert told("workers", step=60) == [(0, {"count": 2})]
    assert told("dead-letters", step=60) == [(0, {"open": 7, "new": 6})]


def test_a_minute_that_was_watched_in_part_has_the_rate_of_that_part(bench: Bench) -> None:
    bench.run_to(31)
    bench.stream.is_away = True
    bench.run_to(51)
    bench.stream.is_away = False
    for second in (6, 56):
        bench.stream.add(second, {PUBLISHED: 10})
    bench.run_to(70)
    [(_, minute)] = told(step=60)
    seconds = 5 * len(told(until=60))
    assert seconds < 60
    assert minute["published"] == pytest.approx(
        sum(values["published"] * 5 for _, values in told(until=60)) / seconds, abs=1e-3
    )


def test_old_samples_go(bench: Bench) -> None:
    for step, seconds in ((5, -3700), (5, -3500), (60, -24 * 3600 - 100), (60, -24 * 3600 + 100)):
        Sample.objects.create(series="outcomes", step=step, at=at(seconds), values={})
    bench.run_to(1)
    left = Sample.objects.filter(at__lt=NOON).values_list("step", "at")
    assert set(left) == {(5, at(-3500)), (60, at(-24 * 3600 + 100))}


def test_a_step_costs_few_queries(bench: Bench, django_assert_max_num_queries: Any) -> None:
    bench.run_to(8)
    for group in range(50):
        bench.stream.add(9, {(f"t{group}", f"g{group}", "processed"): 1, (f"t{group}", "", "published"): 1})
    bench.gauges = {f"group:g{group}": {"lag": 1} for group in range(50)}
    with django_assert_max_num_queries(8):
        bench.run_to(11.5)
    with django_assert_max_num_queries(0):
        bench.run_to(13)


def test_only_known_outcomes_are_counted(bench: Bench) -> None:
    bench.stream.add(1, {("t", "g", "evaporated"): 5, ("t", "g", Outcome.SKIPPED): 1})
    bench.run_to(7)
    assert told()[0][1] == {"published": 0, "processed": 0, "retrying": 0, "failed": 0, "duplicate": 0, "skipped": 0.2}
