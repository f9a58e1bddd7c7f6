"""The activity stream without Redis: what is kept, what is counted, and what another release's entry comes to."""

from __future__ import annotations

import threading
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import conf
from bus.activity import Activity, ActivityLog, ActivityStream, Outcome, Transition, bucket_of, quantile
from bus.activity.counts import MOST_TALLIES, UNTIMED, Counts
from bus.activity.durations import bounds_of
from bus.activity.entries import pack, unpack
from bus.activity.sample import MOST_TRANSITIONS, RANKS
from bus.ledger import Ledger
from tests.processes import wait_until
from tests.unit.heard import Heard

TOPIC, GROUP = "order.created", "billing"


class Client:
    """The one Redis stream that activity uses. `away` makes it fail."""

    def __init__(self) -> None:
        self.entries: list[tuple[bytes, dict[bytes, bytes]]] = []
        self.away = False
        self.tried = 0
        self.maxlen = 0

    def xadd(self, key: str, values: dict[bytes, bytes], maxlen: int, approximate: bool) -> None:
        self.tried += 1
        if self.away:
            raise OSError("Redis is away")
        self.maxlen = maxlen
        self.entries.append((b"%d-0" % (len(self.entries) + 1), values))

    def xread(self, streams: dict[str, str], count: int, block: int | None = None) -> list[Any]:
        [(key, after)] = streams.items()
        found = [each for each in self.entries if int(each[0][:-2]) > int(after[:-2])][:count]
        return [[key.encode(), found]] if found else []

    def xrevrange(self, key: str, count: int) -> list[Any]:
        return self.entries[::-1][:count]


class Place:
    """As much of a ledger as activity needs."""

    def __init__(self, **settings: Any) -> None:
        self.client = Client()
        self.settings = conf.load(conf.BusSettings, **settings)
        self.prefix = "bus"
        self.dropped: dict[tuple[str, str], int] = {}

    def count_duplicates(self, dropped: dict[tuple[str, str], int]) -> None:
        self.dropped |= dropped


def transition(outcome: str, number: int = 0, **more: Any) -> Transition:
    return Transition(1000 + number, outcome, f"event-{number}", TOPIC, GROUP, **more)


def log_at(place: Place, patience: float = 600.0) -> ActivityLog:
    """A log that writes when it is told to."""
    return ActivityLog(cast(Ledger, place), "worker-1", wall_clock=lambda: 5.0, patience=patience)


def record(log: ActivityLog, outcome: str, count: int) -> None:
    """Let so many events have that outcome."""
    for number in range(count):
        if log.count(TOPIC, GROUP, outcome) > 0:
            log.keep(transition(outcome, number))


def written(place: Place) -> Activity:
    """The only entry."""
    [activity] = ActivityStream(cast(Ledger, place)).recent()
    return activity


# -- sampling -------------------------------------------------------------------------------------------------------


def test_failures_that_come_last_are_kept_before_all_others() -> None:
    place = Place()
    log = log_at(place)
    record(log, "processing", 900)
    record(log, "processed", 800)
    record(log, "retrying", 30)
    record(log, "failed", 20)
    log.close()

    activity = written(place)
    kept = [each.outcome for each in activity.transitions]

    assert {outcome: kept.count(outcome) for outcome in set(kept)} == {"failed": 20, "retrying": 30, "processed": 150}
    assert activity.skipped == 900 + 800 - 150


def test_all_that_happened_is_kept_while_there_is_room() -> None:
    place = Place()
    log = log_at(place)
    for outcome in Outcome:
        record(log, outcome.value, 20)
    log.close()

    activity = written(place)

    assert len(activity.transitions) == 20 * len(Outcome)
    assert activity.skipped == 0


def test_every_outcome_has_a_rank() -> None:
    assert set(RANKS) == set(Outcome)


def test_counts_are_exact_where_transitions_are_not() -> None:
    place = Place()
    log = log_at(place)
    record(log, "processed", 12_345)
    log.count("payment.created", "", "published", 999)
    log.close()

    activity = written(place)

    assert activity.counts == [(TOPIC, GROUP, "processed", 12_345), ("payment.created", "", "published", 999)]
    assert activity.skipped == 12_345 + 999 - MOST_TRANSITIONS


def test_transitions_are_in_the_order_of_time_and_an_event_begins_before_it_ends() -> None:
    log = Heard()
    log.keep(transition("failed", 2))
    log.keep(transition("processing", 2))
    log.keep(transition("processed", 1))
    log.keep(transition("processing", 1))

    kept = log.activity.transitions

    assert [(each.at_ms, each.outcome) for each in kept] == [
        (1001, "processing"), (1001, "processed"), (1002, "processing"), (1002, "failed"),
    ]  # fmt: skip


def test_counting_from_many_threads_loses_nothing() -> None:
    place = Place()
    log = log_at(place)
    ended = threading.Event()

    def work() -> None:
        for _ in range(20_000):
            log.tally(TOPIC, GROUP, "processed").append(1)

    def write() -> None:
        while not ended.is_set():
            log.flush()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    writer = threading.Thread(target=write)
    writer.start()
    for thread in threads:
        thread.join()
    ended.set()
    writer.join()
    log.flush()

    found = ActivityStream(cast(Ledger, place)).read("0-0", count=1_000_000)
    assert sum(n for activity in found for *_, n in activity.counts) == 80_000
    assert sum(n for activity in found for *_, buckets in activity.durations for n in buckets.values()) == 80_000


def test_a_transition_whose_count_was_just_written_is_still_shown() -> None:
    place = Place()
    log = log_at(place)
    log.count(TOPIC, GROUP, "failed")
    log.flush()
    log.keep(transition("failed"))
    log.flush()
    log.close()

    first, second = ActivityStream(cast(Ledger, place)).recent()
    assert (first.counts, first.skipped) == ([(TOPIC, GROUP, "failed", 1)], 1)
    assert (second.counts, second.skipped, second.transitions) == ([], 0, [transition("failed")])


def test_copies_that_the_stream_has_no_room_for_are_still_counted_per_event() -> None:
    place = Place()
    log = log_at(place)
    for outcome in ("failed", "duplicate"):
        for number in range(250):
            log.count(TOPIC, GROUP, outcome)
            log.keep(transition(outcome, number % 100))
    log.flush()
    log.close()

    assert len(place.dropped) == 100
    assert sum(place.dropped.values()) == MOST_TRANSITIONS


def test_topics_that_a_forger_makes_up_do_not_pile_up() -> None:
    counts = Counts()
    for number in range(MOST_TALLIES + 100):
        counts.tally(f"topic-{number}", GROUP, "failed").append(UNTIMED)
    counted, timed = counts.take()

    assert counted[-1] == ("(other)", GROUP, "failed", 100)
    assert len(counted) == MOST_TALLIES + 1
    assert timed == []


# -- durations ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**9))
def test_a_duration_lies_in_its_bucket_which_is_narrow(ms: int) -> None:
    low, high = bounds_of(bucket_of(ms))

    assert low <= ms < high
    assert high - low <= max(1, low / 8)


@given(st.lists(st.integers(0, 10**6), min_size=1), st.floats(0, 1))
def test_a_quantile_is_at_most_an_eighth_off(durations: list[int], p: float) -> None:
    buckets: dict[int, int] = {}
    for ms in durations:
        buckets[bucket_of(ms)] = buckets.get(bucket_of(ms), 0) + 1
    rank = max(0, -int(-p * len(durations) // 1) - 1)
    exact = sorted(durations)[rank]

    found = quantile(buckets, p)

    assert found is not None
    assert bounds_of(bucket_of(exact))[0] <= found <= bounds_of(bucket_of(exact))[1]


def test_there_is_no_quantile_of_nothing() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({3: 0}, 0.5) is None


def test_a_clock_that_was_set_back_breaks_nothing() -> None:
    assert bucket_of(-5) == 0


# -- entries --------------------------------------------------------------------------------------------------------

ENTRY = Activity(
    "1-0",
    "worker-1",
    5000,
    [(TOPIC, GROUP, "processed", 3)],
    [(TOPIC, GROUP, {0: 1, 25: 2})],
    [transition("failed", 1, error="SmtpError: refused", attempt=4, key="k", reason="exhausted")],
    2,
)


def test_an_entry_is_read_as_it_was_written() -> None:
    assert unpack("1-0", pack(ENTRY)) == ENTRY


def test_a_large_entry_takes_little_room() -> None:
    many = [transition("processed", number, worker="worker-1") for number in range(MOST_TRANSITIONS)]
    large = Activity("1-0", "w", 1, transitions=many)
    packed = pack(large)

    assert len(packed) < 8000
    assert unpack("1-0", packed) == large


def test_an_entry_of_a_release_that_says_more_is_read() -> None:
    value = orjson.loads(pack(ENTRY))
    value["mood"] = "fine"
    value["fields"] = ["mood", *value["fields"]]
    value["transitions"] = [["fine", *row] for row in value["transitions"]]
    value["counts"] = [[*row, "more"] for row in value["counts"]]

    assert unpack("1-0", orjson.dumps(value)) == ENTRY


def test_an_entry_of_a_release_that_says_less_is_read() -> None:
    value = orjson.loads(pack(ENTRY))
    value["fields"] = value["fields"][:-1]
    value["transitions"] = [row[:-1] for row in value["transitions"]]

    assert unpack("1-0", orjson.dumps(value)) == Activity(
        **{**{name: getattr(ENTRY, name) for name in Activity.__slots__},
           "transitions": [ENTRY.transitions[0]._replace(reason=None)]}
    )  # fmt: skip


@pytest.mark.parametrize(
    "packed",
    [
        b"", b"{", b"{}", b"[]", b"x\x9c", b'{"v":"1"}',
        orjson.dumps({**orjson.loads(pack(ENTRY)), "v": 2}),
        orjson.dumps({**orjson.loads(pack(ENTRY)), "fields": ["at_ms", "event_id"], "transitions": [[1]]}),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_left_out(packed: bytes) -> None:
    assert unpack("1-0", packed) is None


def test_text_that_is_not_unicode_hides_no_entry() -> None:
    odd = Activity("1-0", "w", 1, transitions=[transition("failed", error="\udcff"), transition("processed", 1)])

    found = unpack("1-0", pack(odd))

    assert found is not None
    assert [each.error for each in found.transitions] == ["?", None]


# -- writing and reading --------------------------------------------------------------------------------------------


def test_entries_that_cannot_be_read_hide_no_other_and_stop_nobody() -> None:
    place = Place()
    log, stream = log_at(place), ActivityStream(cast(Ledger, place))
    place.client.entries = [(b"%d-0" % number, {b"a": b"?"}) for number in range(1, 8)]
    log.count(TOPIC, GROUP, "processed")
    log.close()

    assert [each.counts for each in stream.read("0-0", count=3)] == [[(TOPIC, GROUP, "processed", 1)]]
    assert stream.read("8-0") == []


def test_a_thread_that_cannot_be_started_is_nothing_to_those_who_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    log = log_at(place, patience=0.01)
    with monkeypatch.context() as patched:
        patched.setattr("threading.Thread.start", lambda self: (_ for _ in ()).throw(RuntimeError("no more threads")))
        record(log, "processed", 1)
    record(log, "processed", 1)
    wait_until(lambda: len(place.client.entries) == 1, 10, "both in an entry")
    log.close()


def test_what_happens_is_written_without_being_asked() -> None:
    place = Place()
    log = log_at(place, patience=0.01)
    record(log, "processed", 1)
    wait_until(lambda: len(place.client.entries) == 1, 10, "the first entry")
    record(log, "processed", 1)
    wait_until(lambda: len(place.client.entries) == 2, 10, "the second entry")
    log.close()

    first, second = ActivityStream(cast(Ledger, place)).recent()
    assert (first.by, first.at_ms, first.counts) == ("worker-1", 5000, second.counts)


def test_nothing_piles_up_and_nothing_is_raised_while_redis_is_away() -> None:
    place = Place()
    place.client.away = True
    log = log_at(place)
    for number in range(5000):
        if log.count(TOPIC, GROUP, "processed") > 0:
            log.keep(transition("processed", number))
    assert len(log._sample._kept[RANKS["processed"]]) == MOST_TRANSITIONS
    assert log.flush() is False
    assert not log.tally(TOPIC, GROUP, "processed")
    assert not any(log._sample._kept)

    place.client.away = False
    log.count(TOPIC, GROUP, "processed")
    assert log.flush() is True
    log.close()
    assert [each.counts for each in ActivityStream(cast(Ledger, place)).recent()] == [[(TOPIC, GROUP, "processed", 1)]]


def test_large_entries_are_fewer() -> None:
    place = Place(activity_bytes=1024 * 1024)
    log = log_at(place)
    log.count(TOPIC, GROUP, "processed")
    log.flush()
    few = place.client.maxlen
    for _ in range(100):
        for number in range(200):
            log.count(TOPIC, GROUP, "processed")
            log.keep(transition("processed", number * 7919, error=str(hash(str(number)))))
        log.flush()
    log.close()

    assert place.client.maxlen < few / 4
