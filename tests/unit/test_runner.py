"""The poll loop: what it pauses, lets go of and commits, with a Kafka and a dispatcher made of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import pytest

from bus import conf
from bus.consumer.dispatcher import Dispatcher, Revocation
from bus.consumer.runner import Runner
from bus.consumer.work import Work
from bus.handlers import Handler
from bus.kafka.consumer import OnPartitions, Partition, Record
from bus.ledger.mirror import Pause
from tests.unit.dispatch_stage import GROUP, P0, P1, TOPIC, Message, value_of


class Kafka:
    """A member of a group. As with the real client, what is paused stays so, whoever has it in between."""

    def __init__(self) -> None:
        self.waiting: list[Record] = []
        self.during: list[Callable[[], None]] = []
        self.paused: set[Partition] = set()
        self.committed: list[tuple[dict[Partition, int], bool]] = []
        self.ours: set[Partition] = set()

    def has_lost_commits(self) -> bool:
        return False

    def subscribe(
        self, topics: list[str], on_assign: OnPartitions, on_revoke: OnPartitions, on_lost: OnPartitions
    ) -> None:
        self.on_assign, self.on_revoke, self.on_lost = on_assign, on_revoke, on_lost

    def consume(self, count: int, timeout: float) -> list[Record]:
        records = [each for each in self.waiting if (each.topic(), each.partition()) not in self.paused]
        self.waiting = [each for each in self.waiting if each not in records]
        while self.during:
            self.during.pop(0)()
        return records

    def pause(self, partitions: Iterable[Partition]) -> None:
        self.paused.update(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self.paused.difference_update(partitions)

    def commit(self, offsets: Mapping[Partition, int], *, wait: bool) -> None:
        if offsets:
            self.committed.append((dict(offsets), wait))

    def close(self) -> None:
        self.on_revoke(sorted(self.ours))


class Hands:
    """What the runner needs of a dispatcher: it holds what it is given, and finishes when told to."""

    failure = None
    backlog = 0

    def __init__(self) -> None:
        self.works: list[Work] = []
        self.committable: dict[Partition, int] = {}
        self.revoked: list[Partition] = []
        self.is_over = False

    def start(self) -> None: ...
    def assign(self, partitions: Iterable[Partition]) -> None: ...
    def drain(self) -> None: ...
    def pause(self, pause: Pause) -> None: ...

    def take_in(self, works: Sequence[Work]) -> None:
        self.works += works

    def held(self, partition: Partition) -> tuple[int, int]:
        mine = [work.size for work in self.works if work.source == partition]
        return len(mine), sum(mine)

    def revoke(self, partitions: Iterable[Partition]) -> Revocation:
        revocation = Revocation(partitions)
        revocation.done.set()
        self.revoked += revocation.partitions
        return revocation

    def release(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        self.works = [work for work in self.works if work.source not in partitions]
        return {each: self.committable.pop(each) for each in partitions if each in self.committable}

    def end(self, timeout: float) -> None:
        self.is_over = True

    def is_alive(self) -> bool:
        return True


class Loop:
    """A runner with its surroundings."""

    def __init__(self, **settings: object) -> None:
        self.kafka, self.hands, self.now = Kafka(), Hands(), 100.0
        handlers = {TOPIC: Handler(GROUP, (TOPIC,), print)}
        loaded = conf.load(conf.BusSettings, **settings)
        self.runner = Runner(
            GROUP,
            handlers,
            self.kafka,
            cast(Dispatcher, self.hands),
            settings=loaded,
            clock=lambda: self.now,
            sleep=self._sleep,
        )
        self.kafka.subscribe([], self.runner._on_assign, self.runner._on_revoke, self.runner._on_lost)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def assign(self, *partitions: Partition) -> None:
        self.kafka.ours |= set(partitions)
        self.kafka.on_assign(list(partitions))

    def revoke(self, *partitions: Partition) -> None:
        self.kafka.on_revoke(list(partitions))
        self.kafka.ours -= set(partitions)

    def arrive(self, partition: Partition, *offsets: int) -> None:
        self.kafka.waiting += [Message(partition, at, None, value_of(f"e{at}")) for at in offsets]

    def poll(self) -> list[int]:
        before = len(self.hands.works)
        self.runner.poll_once()
        self.now += 1.0
        return [work.offset for work in self.hands.works[before:]]


@pytest.fixture
def loop() -> Loop:
    return Loop(window_events=4)


def test_a_full_window_pauses_a_partition_until_it_is_half_empty(loop: Loop) -> None:
    loop.assign(P0, P1)
    loop.arrive(P0, 0, 1, 2, 3)
    loop.poll()
    loop.arrive(P0, 4)
    loop.arrive(P1, 0)
    assert loop.poll() == [0]

    del loop.hands.works[:2]
    loop.poll()

    assert loop.poll() == [4]


@pytest.mark.parametrize("lost", [False, True])
def test_a_partition_that_was_paused_when_it_went_is_read_when_it_comes_back(loop: Loop, *, lost: bool) -> None:
    loop.assign(P0)
    loop.arrive(P0, 0, 1, 2, 3)
    loop.poll()
    assert loop.kafka.paused == {P0}

    if lost:
        loop.kafka.on_lost([P0])
    else:
        loop.revoke(P0)
    loop.assign(P0)
    loop.arrive(P0, 0, 1)

    assert loop.poll() == [0, 1]


def test_records_of_a_partition_that_goes_while_they_are_read_are_left_to_its_next_owner(loop: Loop) -> None:
    loop.assign(P0, P1)
    loop.arrive(P0, 0)
    loop.arrive(P1, 7)
    loop.kafka.during.append(lambda: loop.revoke(P0))

    assert loop.poll() == [7]


def test_offsets_are_committed_in_full_when_a_partition_goes(loop: Loop) -> None:
    loop.assign(P0, P1)
    loop.hands.committable = {P0: 3, P1: 5}

    loop.revoke(P0)
    loop.poll()

    assert loop.kafka.committed == [({P0: 3}, True), ({P1: 5}, False)]


def test_nothing_is_committed_for_a_lost_partition(loop: Loop) -> None:
    loop.assign(P0)
    loop.hands.committable = {P0: 3}

    loop.kafka.on_lost([P0])
    loop.poll()

    assert loop.kafka.committed == []


def test_partitions_are_let_go_once_at_the_end(loop: Loop) -> None:
    loop.kafka.during.append(lambda: loop.assign(P0))
    loop.kafka.during.append(loop.runner.stop)

    loop.runner.run()

    assert loop.hands.revoked == [P0]
    assert loop.hands.is_over


ALL, THIS_TOPIC = Pause(whole=True), Pause(topics=frozenset({TOPIC}))
REPLAYS: Partition = (f"{GROUP}.replay", 0)


def test_a_paused_group_reads_nothing_until_it_is_resumed_and_polls_on(loop: Loop) -> None:
    loop.assign(P0, P1, REPLAYS)
    loop.runner.pause(ALL)
    loop.poll()
    loop.arrive(P0, 0)
    loop.arrive(REPLAYS, 0)
    assert loop.poll() == []
    assert loop.kafka.paused == {P0, P1, REPLAYS}

    loop.runner.pause(Pause())
    loop.poll()
    assert sorted(loop.poll()) == [0, 0]


def test_of_a_paused_topic_only_its_own_partitions_rest(loop: Loop) -> None:
    loop.assign(P0, ("order.shipped", 0), REPLAYS)
    loop.runner.pause(THIS_TOPIC)
    loop.poll()

    assert loop.kafka.paused == {P0}


def test_a_partition_that_comes_while_its_group_is_paused_is_paused_from_its_first_poll_on(loop: Loop) -> None:
    loop.runner.pause(ALL)
    loop.poll()
    loop.assign(P0)
    loop.poll()
    loop.arrive(P0, 0)
    assert loop.poll() == []

    loop.revoke(P0)
    loop.assign(P0)  # the client itself would read it again
    loop.poll()
    assert loop.kafka.paused == {P0}


def test_room_in_the_window_does_not_resume_what_somebody_paused(loop: Loop) -> None:
    loop.assign(P0)
    loop.arrive(P0, 0, 1, 2, 3)
    loop.poll()
    loop.runner.pause(ALL)
    loop.poll()
    del loop.hands.works[:]
    loop.poll()
    assert loop.kafka.paused == {P0}

    loop.runner.pause(Pause())
    loop.poll()
    assert loop.kafka.paused == set()


def test_a_resumed_partition_with_a_full_window_rests_on(loop: Loop) -> None:
    loop.assign(P0)
    loop.runner.pause(ALL)
    loop.kafka.paused.clear()
    loop.arrive(P0, 0, 1, 2, 3)
    loop.poll()
    loop.runner.pause(Pause())
    loop.poll()
    assert loop.kafka.paused == {P0}

    del loop.hands.works[:]
    loop.poll()
    assert loop.kafka.paused == set()


def test_offsets_of_a_paused_group_are_committed_as_ever(loop: Loop) -> None:
    loop.assign(P0)
    loop.runner.pause(ALL)
    loop.hands.committable = {P0: 3}
    loop.poll()

    assert loop.kafka.committed == [({P0: 3}, False)]
