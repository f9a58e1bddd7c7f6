"""The stage of the sender's tests: a Kafka and a clock that are made up, and replays that run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from bus import conf
from bus.deadletterindex.pages import LetterFilter
from bus.errors import BrokerUnavailableError, PublishRefusedError
from bus.kafka.consumer import Partition, Record
from bus.kafka.producer import Delivered, OnDelivery
from bus.models import Replay, ReplayItem
from bus.replay import operations
from bus.replay.arrivals import Arrivals
from bus.replay.plan import Choice, plan
from bus.replay.sender import Sender
from tests.indexed import NOW, MadeUpRecord, index, record


class Kafka:
    """Topics of one partition. `answer` decides what becomes of a record: stored, and what is said of it."""

    def __init__(self) -> None:
        self.records: dict[str, list[MadeUpRecord]] = {"billing.replay": []}
        self.answer: list[Exception | None] = []
        self.loses: list[bool] = []
        self.is_away = False
        self.is_broken = False
        self.opened = 0

    def open_producer(self) -> Kafka:
        self.opened += 1
        self.is_broken = False
        return self

    def open_arrivals(self) -> Arrivals:
        return Arrivals(self, lambda: dict.fromkeys(self.records, 1))

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        event_id: str,
        on_delivery: OnDelivery,
        *,
        queue_timeout: float,
    ) -> None:
        answer = self.answer.pop(0) if self.answer else None
        stored = self.records[topic]
        if not isinstance(answer, PublishRefusedError) and not (self.loses and self.loses.pop(0)):
            stored.append(MadeUpRecord(topic, len(stored), value, key, list(headers)))
        on_delivery(answer or Delivered(topic, 0, len(stored) - 1, 0))

    def close(self, timeout: float = 0.0) -> int:
        return 0

    def assign(self, places: Mapping[Partition, int]) -> None:
        self._places = dict(places)

    def read(self, count: int, timeout: float) -> list[Record]:
        found: list[Record] = []
        for (topic, _), offset in self._places.items():
            found += self.records[topic][offset:]
        return found

    def offsets(self, partitions: Iterable[Partition], timeout: float = 5.0) -> dict[Partition, tuple[int, int]]:
        if self.is_away:
            raise BrokerUnavailableError("away")
        return {place: (0, len(self.records[place[0]])) for place in partitions}

    def read_at(self, topic: str, partition: int, offset: int, timeout: float = 5.0) -> Record | None:
        return None

    def sent(self) -> list[str]:
        return [bytes(dict(each.its_headers)["event-id"] or b"").decode() for each in self.records["billing.replay"]]


class Time:
    def __init__(self) -> None:
        self.seconds = 0.0

    def clock(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)


def sender(kafka: Kafka, time: Time, owner: str = "one", **settings: Any) -> Sender:
    return Sender(
        owner,
        kafka.open_producer,
        kafka.open_arrivals,
        conf.load(conf.BusSettings, **settings),
        clock=time.clock,
        now=time.now,
    )


def running(count: int, **how: Any) -> Replay:
    index([record(number, key=f"key-{number % 3}") for number in range(count)])
    replay = plan(Choice(LetterFilter()), "ada", NOW, None).replay
    return operations.run(replay.pk, "ada", NOW, **how)


def states() -> dict[str, int]:
    """Items by state; those that wait and are taken as such."""
    found: Counter[str] = Counter()
    for item in ReplayItem.objects.select_related("replay"):
        is_taken = item.state == ReplayItem.State.WAITING and item.sequence <= item.replay.taken_to
        found["taken" if is_taken else item.state] += 1
    return dict(found)


def numbered(event_id: str) -> int:
    return int(event_id.removeprefix("event-"))
