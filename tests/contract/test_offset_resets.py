"""Resets of a group's offsets: what the plan says, and that nothing is reset that isn't as it was planned."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Consumer

from bus import catalog, conf, handlers
from bus.control import store
from bus.control.offsets.apply import LIVE_SECONDS, Move, Reset, apply
from bus.control.offsets.plan import Plan, Target, To, plan
from bus.envelope import Event, Metadata, encode
from bus.errors import InvalidEventError, LedgerUnavailableError
from bus.handlers import Handler
from bus.kafka.commits import committed
from bus.kafka.consumer import Partition
from bus.kafka.offsets import set_offsets
from bus.ledger import Claim, Ledger, Settlement, Status
from bus.ledger.mirror import Steering
from bus.models import AuditEntry, GroupEpoch
from bus.presence import GroupPresence, Presence, WorkerPresence
from bus.replay.refusals import NotPossibleError, UnknownThingError
from tests.kafka.subject import ONLY_EMBEDDED, ONLY_REAL, KafkaUnderTest
from tests.processes import wait_until
from tests.scenario.topics import Writer

pytestmark = pytest.mark.django_db(transaction=True)
EARLIEST, LATEST = Target(To.EARLIEST), Target(To.LATEST)


class Place:
    """A group of ours and a topic with forty events on two partitions, of which it has committed 15 on each."""

    def __init__(self, kafka: KafkaUnderTest, group: str, topic: str) -> None:
        self.kafka, self.group, self.topic = kafka, group, topic
        self.ledger = Ledger()
        self.writer = Writer(kafka.bootstrap)
        for number in range(40):
            self.write(f"e{number}", number % 2)
        self.writer.flush()
        set_offsets(group, {(topic, 0): 15, (topic, 1): 15})

    def write(self, event_id: str, partition: int) -> None:
        event = Event(Metadata(event_id, self.topic, "2026-11-27T12:00:00.000Z"), {"n": 1})
        self.writer.write(self.topic, encode(event), partition=partition)

    def settle(self, outcome: Status, *event_ids: str, group: str = "") -> None:
        for event_id in event_ids:
            group = group or self.group
            self.ledger.exchange("w", 1, [], [Claim(event_id, group, self.topic)])
            self.ledger.exchange("w", 2, [Settlement(event_id, group, self.topic, 0, 1, outcome, 1)], [])
            self.ledger.end_lease("w")

    def plan(self, target: Target = EARLIEST) -> Plan:
        return plan(self.group, target, self.ledger)

    def reset(self, made: Plan, **changes: object) -> Reset:
        moves = [Move(row.topic, row.partition, row.before, row.after) for row in made.rows]
        return replace(Reset(made.group, moves, made.epoch, who="ada", why="a test"), **changes)  # type: ignore[arg-type]

    def apply(self, reset: Reset, **options: object) -> int:
        return apply(reset, self.ledger, datetime.now(UTC), **options)  # type: ignore[arg-type]

    def offsets(self) -> dict[Partition, int]:
        return committed(self.group, [(self.topic, 0), (self.topic, 1)])

    def steering(self) -> Steering:
        found = self.ledger.mirror.read()
        assert found is not None
        return found

    @contextmanager
    def member(self) -> Iterator[None]:
        """Somebody is in the group."""
        client = Consumer(
            {"bootstrap.servers": self.kafka.bootstrap, "group.id": self.group, "enable.auto.commit": False}
        )
        client.subscribe([self.topic])
        wait_until(lambda: client.poll(0.1) is not None or bool(client.assignment()), 30, "a member")
        yield
        client.close()


@pytest.fixture
def place(
    kafka: KafkaUnderTest,
    make_topic: Callable[..., str],
    unique: Callable[[str], str],
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    monkeypatch.setattr(handlers, "registry", handlers.Registry())
    monkeypatch.setattr(catalog, "_groups", catalog.groups())
    group, topic = unique("billing"), make_topic(partitions=2)
    catalog.add_group(group, "A group of a test")
    handlers.registry.add(Handler(group, (topic,), lambda data, metadata: None))
    with conf.override(kafka_brokers=kafka.bootstrap, redis_url_given=redis_url, redis_prefix=unique("test")):
        yield Place(kafka, group, topic)


def rows_of(made: Plan) -> list[tuple[int | None, int, int, int]]:
    return [(row.before, row.after, row.lag_before, row.lag_after) for row in made.rows]


def test_the_plan_shows_before_and_after_and_lag(place: Place) -> None:
    assert rows_of(place.plan(EARLIEST)) == [(15, 0, 5, 20), (15, 0, 5, 20)]
    assert (place.plan(EARLIEST).again, place.plan(EARLIEST).passed) == (30, 0)
    assert rows_of(place.plan(LATEST)) == [(15, 20, 5, 0), (15, 20, 5, 0)]
    assert (place.plan(LATEST).again, place.plan(LATEST).passed) == (0, 10)
    chosen = place.plan(Target(To.OFFSETS, offsets={(place.topic, 1): 7}))
    assert [(row.partition, row.after) for row in chosen.rows] == [(1, 7)]
    assert place.offsets() == {(place.topic, 0): 15, (place.topic, 1): 15}
    assert not AuditEntry.objects.exists()


def test_the_plan_says_how_many_would_be_skipped(place: Place) -> None:
    place.settle(Status.PROCESSED, "e0", "e1", "e2")
    place.settle(Status.FAILED, "e3")
    place.settle(Status.RETRYING, "e4")
    place.settle(Status.PROCESSED, "e39")  # not among those that would be read again

    assert place.plan().sample == (30, 30, 3, 1)
    assert place.plan(LATEST).sample is None


def test_of_many_events_the_plan_looks_at_some_all_over_the_range(place: Place) -> None:
    from bus.control.offsets.sample import sample

    place.settle(Status.PROCESSED, *(f"e{number}" for number in range(20, 30)))  # the last third of the range

    found = sample(place.group, {(place.topic, 0): (0, 15), (place.topic, 1): (0, 15)}, place.ledger, most=10)
    assert (found.total, found.looked_at) == (30, 10)
    assert 0 < found.handled < 10


def test_without_redis_the_plan_says_that_nobody_knows(place: Place) -> None:
    away = Ledger(settings=conf.load(conf.BusSettings, redis_url_given="redis://127.0.0.1:1/0"))
    made = plan(place.group, EARLIEST, away)
    assert made.sample is None
    assert "nobody can say what is handled" in made.note

    with pytest.raises(LedgerUnavailableError, match="nothing was reset"):
        apply(place.reset(made), away, datetime.now(UTC))
    assert place.offsets()[place.topic, 0] == 15
    assert not store.load().resets


def test_targets_that_can_not_be_are_refused(place: Place) -> None:
    for target, problem in [
        (Target(To.OFFSETS), "none given"),
        (Target(To.OFFSETS, offsets={(place.topic, 0): 21}), "Kafka has 0 to 20"),
        (Target(To.OFFSETS, offsets={(place.topic, 9): 1}), "no partition"),
        (Target(To.TIME), "none given"),
        (Target(To.TIME, datetime.now(UTC) + timedelta(hours=1)), "yet to come"),
        (Target(To.EARLIEST, topics=("order.shipped",)), "doesn't read 'order.shipped'"),
    ]:
        with pytest.raises(InvalidEventError, match=problem):
            place.plan(target)


@ONLY_REAL
def test_a_time_is_a_target(place: Place) -> None:
    time.sleep(0.05)
    at = datetime.now(UTC)
    time.sleep(0.05)
    place.write("late", 1)
    place.writer.flush()

    made = place.plan(Target(To.TIME, at))
    assert [row.after for row in made.rows] == [20, 20]
    assert [row.end for row in made.rows] == [20, 21]


@ONLY_EMBEDDED
def test_the_embedded_kafka_says_that_it_knows_no_times(place: Place) -> None:
    with pytest.raises(NotPossibleError, match=r"can't seek by time.*possible: earliest, latest, offsets"):
        place.plan(Target(To.TIME, datetime.now(UTC)))


def test_a_reset_sets_the_offsets_and_tells_the_audit(place: Place) -> None:
    made = place.plan()

    assert place.apply(place.reset(made)) == 0

    assert place.offsets() == {(place.topic, 0): 0, (place.topic, 1): 0}
    entry = AuditEntry.objects.get()
    assert (entry.who, entry.what, entry.target, entry.outcome, entry.changed) == (
        "ada", "group.reset-offsets", place.group, "done", 2,
    )  # fmt: skip
    assert entry.detail["offsets"][0] == [place.topic, 0, 15, 0]
    assert (place.steering().resets, place.steering().epoch(place.group)) == (frozenset(), 0)


def test_handling_again_is_a_new_epoch(place: Place) -> None:
    place.settle(Status.PROCESSED, "e0")

    assert place.apply(place.reset(place.plan(), handle_again=True)) == 1

    assert place.steering().epoch(place.group) == GroupEpoch.objects.get().number == 1
    time.sleep(1.1)  # what this process knows of epochs is at most a second old
    assert place.ledger.status("e0", [place.group]) is None


def test_a_group_with_members_is_not_reset(place: Place) -> None:
    made = place.plan()
    with place.member(), pytest.raises(NotPossibleError, match="members"):
        place.apply(place.reset(made, handle_again=True))

    assert (place.offsets()[place.topic, 0], GroupEpoch.objects.get().number) == (15, 0)
    entry = AuditEntry.objects.get()
    assert (entry.outcome, "members" in entry.outcome_detail) == ("failed", True)
    assert not place.steering().resets  # its workers go on


def test_a_worker_that_is_alive_and_not_yet_a_member_is_seen(place: Place) -> None:
    group = GroupPresence(place.group, {}, 0.0, 0, 0.0, 0)
    now = time.time()
    entry = WorkerPresence("w-1", "host", 1, "boot", "1", 8, now, now, groups=(group,))
    Presence(place.ledger).write(entry)
    made = place.plan()
    with pytest.raises(NotPossibleError, match="1 live worker: w-1"):
        place.apply(place.reset(made))
    assert place.offsets()[place.topic, 0] == 15

    Presence(place.ledger).write(replace(entry, seen_at=now - LIVE_SECONDS - 1))
    place.apply(place.reset(made))
    assert place.offsets()[place.topic, 0] == 0


def test_workers_that_begin_meanwhile_are_told_to_wait(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(group: str, offsets: object, *args: object) -> None:
        seen.append(place.steering().pause(group).whole)

    monkeypatch.setattr("bus.control.offsets.apply.set_offsets", look)
    place.apply(place.reset(place.plan()))
    assert seen == [True]
    assert not place.steering().pause(place.group)


def test_offsets_that_moved_since_the_plan_are_a_conflict(place: Place) -> None:
    made = place.plan()
    set_offsets(place.group, {(place.topic, 1): 16})

    with pytest.raises(NotPossibleError, match="15 then, 16 now; possible: plan again"):
        place.apply(place.reset(made))
    assert place.offsets() == {(place.topic, 0): 15, (place.topic, 1): 16}

    again = place.plan()
    place.apply(place.reset(again, handle_again=True))
    with pytest.raises(NotPossibleError, match="epoch 1 by now, the plan saw 0"):
        place.apply(place.reset(again))


def test_two_resets_at_once_are_one(place: Place) -> None:
    made = place.plan()
    GroupEpoch.objects.create(group=place.group, resetting_since=datetime.now(UTC))
    with pytest.raises(NotPossibleError, match="being reset just now"):
        place.apply(place.reset(made))
    assert store.load().resets == {place.group}


def test_a_foreign_group_can_be_reset_and_has_no_epochs(place: Place, unique: Callable[[str], str]) -> None:
    foreign = unique("foreign")
    with pytest.raises(UnknownThingError):
        plan(foreign, EARLIEST, place.ledger)
    set_offsets(foreign, {(place.topic, 0): 3})

    made = plan(foreign, EARLIEST, place.ledger)
    assert [(row.topic, row.before, row.after) for row in made.rows] == [(place.topic, 3, 0)]
    assert (made.is_ours, made.sample) == (False, None)
    with pytest.raises(InvalidEventError, match="foreign group"):
        place.apply(place.reset(made, handle_again=True))
    place.apply(place.reset(made))
    assert committed(foreign, [(place.topic, 0)]) == {(place.topic, 0): 0}
    assert not GroupEpoch.objects.exists()
