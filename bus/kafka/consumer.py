"""The Kafka consumer of a worker and group. Used by one thread only, the one that polls."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from bus import conf
from bus.errors import BrokerUnavailableError
from bus.kafka import config

log = logging.getLogger("bus.kafka")

Partition = tuple[str, int]
OnPartitions = Callable[[list[Partition]], None]

# A rebalance is under way, or the partitions are somebody else's by now: whoever has them commits in our stead.
_NOT_OURS = {
    KafkaError._STATE,
    KafkaError._NO_OFFSET,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.FENCED_MEMBER_EPOCH,
}
_LOOK_SECONDS = 2.0
# The library waits for a broker as long as there is none. A worker that is asked to stop can't: what isn't committed is
# known to the ledger, and a member that leaves without goodbye is missed after its session time-out.
_COMMIT_SECONDS, _CLOSE_SECONDS = 3.0, 3.0
_NO_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}


class Record(Protocol):
    """What the broker stores, as the client library hands it out."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...


def headers_of(record: Record) -> list[tuple[str, bytes | None]]:
    """The record's headers; none when a name among them isn't UTF-8, which other clients allow."""
    try:
        return record.headers() or []
    except (SystemError, UnicodeDecodeError):
        # Asked again, the client would hand out a list with holes, and whoever looks into one crashes the process.
        cast(Message, record).set_headers([])
        return []


class RecordConsumer:
    """Reads records and commits what it is told to."""

    def __init__(self, group: str, worker: str, settings: conf.BusSettings | None = None) -> None:
        self.settings = settings or conf.current()
        self._reported: set[str] = set()
        self._under_way = 0  # asynchronous commits without an answer
        self._hangs = False  # a call to the library didn't come back
        self._revoking = False
        self._commit_is_lost = False
        self._consumer = Consumer(config.consumer(self.settings, group, worker, log), on_commit=self._committed)

    def subscribe(
        self, topics: Sequence[str], on_assign: OnPartitions, on_revoke: OnPartitions, on_lost: OnPartitions
    ) -> None:
        """Join the group. The callbacks run inside `consume`; after `on_revoke` another worker has the partitions."""

        def with_partitions(callback: OnPartitions) -> Callable[[Consumer, list[TopicPartition]], None]:
            return lambda _, partitions: callback([(each.topic, each.partition) for each in partitions])

        def revoke(partitions: list[Partition]) -> None:
            self._revoking = True
            try:
                on_revoke(partitions)
            finally:
                self._revoking = False

        self._consumer.subscribe(
            list(topics),
            on_assign=with_partitions(on_assign),
            on_revoke=with_partitions(revoke),
            on_lost=with_partitions(on_lost),
        )

    def consume(self, count: int, timeout: float) -> list[Record]:
        """Up to `count` records, after `timeout` seconds at most; also what keeps the membership alive.

        Raises BrokerUnavailableError for an error that this consumer can't recover from.
        """
        records: list[Record] = []
        for message in self._messages(count, timeout):
            error = message.error()
            if error is None:
                records.append(cast(Record, message))
            else:
                self._report(message, error)
        return records

    def _messages(self, count: int, timeout: float) -> list[Message]:
        # Asked for many, the library waits until it has them all; one, and what is there beside it, costs no wait.
        first = self._consumer.poll(timeout)
        return [] if first is None else [first, *self._consumer.consume(count - 1, 0)]

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Stop fetching these partitions; polling goes on."""
        self._consumer.pause([TopicPartition(*each) for each in partitions])

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Fetch these partitions again."""
        self._consumer.resume([TopicPartition(*each) for each in partitions])

    def commit(self, offsets: Mapping[Partition, int], *, wait: bool) -> None:
        """Commit next offsets. With `wait` it is done, or known to be somebody else's affair, on return.

        Unless the broker is just revoking partitions, it waits 3 seconds at most. A failure is logged and not raised:
        the next commit carries the same or a later offset, and a redelivered event is known to the ledger.
        """
        if not offsets:
            return
        positions = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
        try:
            if wait and self._revoking:
                # On another thread it would hang: the library answers only the one that runs its callback.
                self._commit_last(positions)
            elif wait:
                self._in_time("commit", lambda: self._commit_last(positions), _COMMIT_SECONDS)
            else:
                self._consumer.commit(offsets=positions, asynchronous=True)
                self._under_way += 1
        except KafkaException as error:
            self._commit_failed(error.args[0])

    def has_lost_commits(self) -> bool:
        """Whether a commit has failed since the last call, so that it should be made again."""
        lost, self._commit_is_lost = self._commit_is_lost, False
        return lost

    def close(self) -> None:
        """Leave the group, if the broker can be told within a few seconds."""
        # Never beside a call that hangs: the library would be taken apart under it.
        if not self._hangs:
            self._in_time("close", self._consumer.close, _CLOSE_SECONDS)

    def _in_time(self, name: str, action: Callable[[], None], seconds: float) -> None:
        """Do what may wait for a broker, and give it up after a while; raises what it raises."""
        raised: list[BaseException] = []

        def act() -> None:
            try:
                action()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=act, name=f"bus-{name}", daemon=True)
        thread.start()
        thread.join(seconds)
        if raised:
            raise raised[0]
        if thread.is_alive():
            self._hangs = True
            log.warning("broker_silent no answer to %s after %g s; going on without", name, seconds)

    def _commit_last(self, positions: list[TopicPartition]) -> None:
        """Commit, and see to it that an earlier commit that was held up in an outage doesn't take it back."""
        self._consumer.commit(offsets=positions, asynchronous=False)
        if self._under_way:
            wanted = {(each.topic, each.partition): each.offset for each in positions}
            stored = self._consumer.committed(positions, timeout=_LOOK_SECONDS)
            if any(each.offset < wanted[each.topic, each.partition] for each in stored):
                self._consumer.commit(offsets=positions, asynchronous=False)

    def _committed(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        self._under_way = max(0, self._under_way - 1)
        # An error of the whole commit stands beside each partition once more.
        failed = [error] if error is not None else [each.error for each in partitions if each.error is not None]
        for problem in failed[:1]:
            self._commit_failed(problem)

    def _commit_failed(self, error: KafkaError) -> None:
        self._commit_is_lost = True
        if error.code() not in _NOT_OURS:
            log.warning("commit_failed %s: %s; the next commit makes up for it", error.name(), error.str())

    def _report(self, message: Message, error: KafkaError) -> None:
        if error.fatal():
            raise BrokerUnavailableError(f"Kafka's client can't go on: {error.name()}: {error.str()}")
        problem = f"{error.name()} {message.topic() or ''}"
        if problem not in self._reported:
            self._reported.add(problem)
            remedy = "; run manage.py create_topics" if error.code() in _NO_TOPIC else ""
            log.warning("consume_error %s: %s%s", problem, error.str(), remedy)
