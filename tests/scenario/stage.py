"""Where a scenario plays: a shop, the events sent to it, its workers, and what became of the events."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bus import deadletters
from bus.deadletters import DeadLetter
from bus.envelope import Event, Metadata, encode, headers_of, timestamp
from tests.kafka.contact import ANY_PARTITION
from tests.kafka.subject import KafkaUnderTest
from tests.processes import wait_until
from tests.scenario.topics import Commits, Headers, Position, Writer, dead_letters
from tests.shop.effects import Effects
from tests.shop.fixtures import Shop
from tests.worker.process import Worker

PATIENCE = 40.0
"""Seconds that a scenario waits for what must happen."""


@dataclass(slots=True)
class Sent:
    """An event that was sent; `number` is its `data.n`."""

    number: int
    order: str
    key: str | None
    event_id: str
    stored: list[Position]

    @property
    def position(self) -> Position:
        """Where it is in its topic."""
        return self.stored[0]


class Stage:
    """One shop of a scenario."""

    def __init__(
        self, kafka: KafkaUnderTest, shop: Shop, writer: Writer, commits: Commits, start: Callable[..., Worker]
    ) -> None:
        self.kafka = kafka
        self.shop = shop
        self.writer = writer
        self.sent: list[Sent] = []
        self._commits = commits
        self._start = start

    @property
    def topic(self) -> str:
        """The shop's first topic."""
        return self.shop.topic

    @property
    def group(self) -> str:
        """The shop's first group."""
        return self.shop.group

    @property
    def effects(self) -> Effects:
        """What its handlers wrote down."""
        return self.shop.effects

    def worker(self, *arguments: str, ready: bool = False, **options: Any) -> Worker:
        """Start a worker with these arguments; `ready` waits until it has partitions of every group."""
        worker = self._start(self.shop, arguments=arguments, **options)
        if ready:
            worker.wait_ready(groups=len(options.get("groups") or self.shop.plan.groups), seconds=PATIENCE)
        return worker

    # -- sending ----------------------------------------------------------------------------------------------------

    def send(
        self,
        *orders: str,
        keys: Sequence[str | None] = (None,),
        partition: int = ANY_PARTITION,
        topic: str | None = None,
        event_id: str | None = None,
        priority: str = "normal",
    ) -> list[Sent]:
        """Write an event per order, the keys in turn, and wait until they are stored."""
        sent: list[Sent] = []
        for order in orders:
            number = len(self.sent)
            key, its_id = keys[len(sent) % len(keys)], event_id or f"{self.topic}-{number}"
            event = Event(
                Metadata(its_id, topic or self.topic, timestamp(int(time.time() * 1000)), priority=priority),
                {"n": number, "do": order},
            )
            stored = self.write(
                encode(event), key.encode() if key else None, headers_of(event, "scenario"), partition, topic
            )
            sent.append(Sent(number, order, key, its_id, stored))
            self.sent.append(sent[-1])
        self.writer.flush()
        return sent

    def write(
        self,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int = ANY_PARTITION,
        topic: str | None = None,
    ) -> list[Position]:
        """Queue any record."""
        return self.writer.write(topic or self.topic, value, key, headers, partition)

    def replay(self, letter: DeadLetter) -> None:
        """Deliver a dead letter again."""
        record = deadletters.replay_record(letter)
        self.writer.write(record.topic, record.value, record.key, record.headers)
        self.writer.flush()

    # -- what became of it ------------------------------------------------------------------------------------------

    def wait_settled(self, *workers: Worker, group: str | None = None, seconds: float = PATIENCE) -> None:
        """Wait until the group (all groups) committed all that was written; fail at once when a worker ends."""
        groups = [group] if group else self.shop.plan.groups
        settled: set[tuple[str, str]] = set()

        def everything() -> bool:
            for name in groups:
                for topic, ends in self._subscribed(name).items():
                    if (name, topic) not in settled and self._commits.of(name, topic, list(ends)) == ends:
                        settled.add((name, topic))
            return len(settled) == sum(len(self._subscribed(name)) for name in groups)

        if workers:
            workers[0].wait_for(everything, seconds)
        else:
            wait_until(everything, seconds, "commits of all that was written", pause=0.05)

    def committed(self, group: str | None = None, topic: str | None = None) -> dict[int, int]:
        """What the group committed in the partitions that were written to."""
        topic = topic or self.topic
        return self._commits.of(group or self.group, topic, list(self.writer.ends.get(topic, {})))

    def dead_letters(self, topic: str | None = None) -> list[DeadLetter]:
        """The dead letters there are, in the order of their origins."""
        return dead_letters(self.kafka.bootstrap, topic or self.topic)

    def numbers(self, *sent: Sent) -> list[int]:
        """`data.n` of these events; of all events without any."""
        return [each.number for each in sent or self.sent]

    def handled(self, group: str | None = None) -> list[int]:
        """`data.n` of every event that was handled, sorted; one that was handled twice is there twice."""
        return sorted(self.effects.done(group or self.group))

    def handled_by_key(self, group: str | None = None) -> dict[str | None, list[int]]:
        """The handled events of each key, in the order in which they were."""
        key_of = {each.number: each.key for each in self.sent}
        order: dict[str | None, list[int]] = {}
        for number in self.effects.done(group or self.group):
            order.setdefault(key_of[number], []).append(number)
        return order

    def sent_by_key(self) -> dict[str | None, list[int]]:
        """The events of each key in the order in which they were sent."""
        order: dict[str | None, list[int]] = {}
        for each in self.sent:
            order.setdefault(each.key, []).append(each.number)
        return order

    def _subscribed(self, group: str) -> Mapping[str, dict[int, int]]:
        handled = {topic for plan in self.shop.plan.handlers if plan.group == group for topic in plan.topics}
        return {
            topic: ends for topic, ends in self.writer.ends.items() if topic in handled or topic == f"{group}.replay"
        }
