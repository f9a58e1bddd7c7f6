"""Sends what replays have taken, in batches that survive any end of this process.

A batch is taken (its items, its dead letters, and where the topics end now: one transaction), sent, and settled when
every record has its answer. Whoever finds a batch that was taken and not settled reads back from those ends what
arrived, and sends the rest. What comes twice all the same, because a process stood still with records in hand, has the
event id and generation of the first, and the ledger drops it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Final, Protocol

from django.db.models import F, Q

from bus import conf
from bus.errors import BrokerUnavailableError, PublishError, PublishRefusedError
from bus.kafka.producer import Delivered, OnDelivery
from bus.models import Replay
from bus.replay import batch, lease, states
from bus.replay.arrivals import Arrivals
from bus.replay.batch import Results
from bus.replay.flight import Flight
from bus.replay.lease import Holding, LeaseLostError
from bus.replay.pace import Pace
from bus.replay.prepared import Helper, Prepared, next_batch, these
from bus.replay.records import Item, Outgoing
from bus.replay.states import Verb

log = logging.getLogger("bus.replay")

MONITOR: Final = "the monitor"
_CHECKED_EVERY: Final = 100
_PAUSE_SECONDS: Final = 2.0
"""After a batch whose outcome isn't known, or Kafka being away."""


class Producer(Protocol):
    """What sends records: `bus.kafka.producer.RecordProducer`."""

    is_broken: bool

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
    ) -> None: ...

    def close(self, timeout: float) -> int: ...


class Sender:
    """Sends the replays that run, one batch each per `step`. Used by one thread; several processes do no harm."""

    def __init__(
        self,
        owner: str,
        open_producer: Callable[[], Producer],
        open_arrivals: Callable[[], Arrivals],
        settings: conf.BusSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`owner` is a name that no other process has."""
        self.owner = owner
        self.settings = settings or conf.current()
        self._open_producer, self._producer = open_producer, None
        self._open_arrivals, self._arrivals = open_arrivals, None
        self._clock = clock
        self._now = now
        self._holdings: dict[int, Holding] = {}
        self._ahead: dict[int, Future[Prepared]] = {}
        self._helper = Helper()
        self._not_before: dict[int, float] = {}
        # Longer than a lease: the rate holds whoever had it meanwhile.
        self._paces: dict[int, Pace] = {}

    _producer: Producer | None
    _arrivals: Arrivals | None

    def step(self) -> int:
        """Send a batch of each replay that has something to send; returns how many events were sent.

        Raises Django's DatabaseError. While Kafka is away it sends nothing, and goes on when it is back.
        """
        return sum(self.serve(replay_id) for replay_id in self._wanting())

    def serve(self, replay_id: int) -> int:
        """Send a batch of one replay, if it has something to send and nobody else sends it; returns how many."""
        if self._clock() < self._not_before.get(replay_id, 0.0):
            return 0
        try:
            return self._serve(replay_id)
        except LeaseLostError as error:
            log.warning("replay_lease_lost %s", error)
            self._drop(replay_id)
        except BrokerUnavailableError as error:
            log.warning("replay_waits %s is tried again in %g s: %s", replay_id, _PAUSE_SECONDS, error)
            self._rest(replay_id)
        return 0

    def serve_if_due(self, replay_id: int) -> int:
        """The same, unless it is to be sent later."""
        return self.serve(replay_id) if replay_id in self._wanting() else 0

    @property
    def is_at_work(self) -> bool:
        """Whether it has replays in hand, which may have something to send in a moment."""
        return bool(self._holdings)

    def rests(self, replay_id: int) -> bool:
        """Whether the last try met an outage, so that the next one comes in a while."""
        return self._clock() < self._not_before.get(replay_id, 0.0)

    def close(self) -> None:
        """Give the leases back, so that another process needn't wait for them to lapse."""
        for replay_id in list(self._holdings):
            self._release(replay_id)
        self._helper.close()
        if self._producer is not None:
            self._producer.close(self.settings.publish_timeout)
        if self._arrivals is not None:
            self._arrivals.reader.close()
        self._producer = self._arrivals = None

    def _wanting(self) -> list[int]:
        is_due = Q(send_at=None) | Q(send_at__lte=self._now())
        has_more = Q(is_due, state=Replay.State.RUNNING, total__gt=F("sent") + F("skipped"))
        return list(Replay.objects.filter(has_more | Q(taken_to__gt=0)).order_by("pk").values_list("pk", flat=True))

    def _serve(self, replay_id: int) -> int:
        replay = Replay.objects.filter(pk=replay_id).first()
        holding = self._holding(replay) if replay is not None else None
        if replay is None or holding is None:
            return 0
        # A batch in hand is sent whatever was decided meanwhile: some of it may have arrived already.
        if left := batch.taken_items(replay):
            return self._go_on(replay, left, holding)
        if replay.taken_to:
            batch.let_go(holding, self._clock, self._now())
        count = holding.pace.due(min(self._most(replay), holding.most), self._clock())
        if not count and holding.valid_until - self._clock() < holding.seconds / 2:
            # Whoever took it over in the meantime would begin at once.
            holding.write(self._clock, self._now())
        began = self._clock()
        sent = self._send_next(replay, count, holding) if count else 0
        holding.learn(sent, self._clock() - began)
        replay.refresh_from_db(fields=["sent", "skipped", "state"])
        if self._most(replay) == 0:
            if replay.sent + replay.skipped < replay.total and replay.state == Replay.State.RUNNING and _waits(replay):
                states.try_change(replay.pk, Verb.CANARY_SENT, MONITOR, self._now())
            self._release(replay.pk)
            self._forget_pace(replay)
        return sent

    def _forget_pace(self, replay: Replay) -> None:
        if replay.sent + replay.skipped >= replay.total:
            self._paces.pop(replay.pk, None)
            self._not_before.pop(replay.pk, None)

    def _most(self, replay: Replay) -> int:
        """How many may be taken at once: none that the canary has to go before."""
        gone = replay.sent + replay.skipped
        if replay.state != Replay.State.RUNNING or gone >= replay.total:
            return 0
        if _waits(replay):
            return max(0, (replay.canary or 0) - gone)
        return replay.total - gone

    def _holding(self, replay: Replay) -> Holding | None:
        held = self._holdings.get(replay.pk)
        if held is not None and self._clock() < held.valid_until:
            if held.pace.rate != replay.rate:
                held.pace.change(replay.rate, self._clock())
            return held
        self._drop(replay.pk)
        pace = self._paces.get(replay.pk)
        if pace is None:
            pace = self._paces[replay.pk] = Pace(replay.rate, self._clock())
        elif pace.rate != replay.rate:
            pace.change(replay.rate, self._clock())
        held = lease.acquire(replay, self.owner, self.settings.lease_seconds, self._clock, self._now(), pace)
        if held is not None:
            self._holdings[replay.pk] = held
            # Who had it until now may have taken a batch since the replay was read.
            replay.refresh_from_db()
        return held

    def _send_next(self, replay: Replay, count: int, holding: Holding) -> int:
        ahead, unknown_size = self._ahead.pop(replay.pk, None), self.settings.max_event_bytes
        this = ahead.result() if ahead is not None else next_batch(replay, count, unknown_size)
        if len(this.items) > count:
            this = next_batch(replay, count, unknown_size)
        if unknown := [topic for topic in this.topics if not holding.ends.get(topic)]:
            holding.ends.update(self._kafka().ends(unknown))
        ends = {topic: holding.ends[topic] for topic in this.topics}
        taken = batch.take(replay, this.items, ends, holding, self._clock, self._now())
        if not taken:
            return 0
        records = self._records(this, taken, holding)
        more = min(holding.most, self._most(replay) - len(this.items))
        if holding.pace.rate is None and more > 0:
            # This thread waits for Kafka and the database most of the time.
            self._ahead[replay.pk] = self._helper.prepare(replay, more, unknown_size, this.items[-1].sequence)
        return self._send(records, holding)

    def _go_on(self, replay: Replay, left: list[Item], holding: Holding) -> int:
        """Finish what another process, or this one, began: what arrived isn't sent again."""
        records = self._records(these(replay, left), left, holding)
        marks = {record.mark: record for record in records if record.mark}
        arrived = self._kafka().since(batch.ends_of(replay), marks)
        log.info("replay_taken_over %s: %s of %s had arrived", replay.pk, len(arrived), len(left))
        found = Results(sent=[(marks[mark], *place) for mark, place in arrived.items()])
        batch.settle(found, len(left), holding, self._clock, self._now(), holding.pace.speed(self._clock()))
        rest = [record for record in records if record.mark not in arrived]
        holding.ends = {}  # of that batch: they are stored, and too old for the next one
        return len(arrived) + (self._send(rest, holding) if rest else 0)

    def _records(self, prepared: Prepared, items: Sequence[Item], holding: Holding) -> list[Outgoing]:
        def keep() -> None:
            if holding.valid_until - self._clock() < holding.seconds / 2:
                holding.write(self._clock, self._now())

        return prepared.records(items, self._kafka().reader, keep)

    def _send(self, records: Sequence[Outgoing], holding: Holding) -> int:
        """Send the records of a batch, wait for every answer, settle."""
        flight = Flight(records)
        number, pause = 0, min(0.5, holding.seconds / 4)
        while not flight.is_over:
            each = flight.next(pause)
            if each is None or holding.valid_until - self._clock() < holding.seconds / 2:
                if flight.is_over:
                    break
                holding.write(self._clock, self._now())
            if each is not None:
                if number % _CHECKED_EVERY == 0:
                    holding.check(self._clock)
                number += 1
                self._send_one(each, flight)
        for each, partition, offset in flight.results.sent:
            assert each.record is not None
            ends = holding.ends.get(each.record.topic)
            if ends is not None:
                ends[partition] = max(offset + 1, ends.get(partition, 0))
        sent, now = len(flight.results.sent), self._clock()
        holding.pace.went(sent, now)
        batch.settle(flight.results, len(records), holding, self._clock, self._now(), holding.pace.speed(now))
        if flight.unknown:
            log.warning(
                "replay_unanswered %s: %s events, %s", holding.replay_id, len(flight.unknown), flight.unknown[0]
            )
            self._rest(holding.replay_id)
        return sent

    def _send_one(self, each: Outgoing, flight: Flight) -> None:
        record = each.record
        if record is None:
            flight.land(each, PublishRefusedError("", each.problem))
            return
        if self._producer is None or self._producer.is_broken:
            self._producer = self._open_producer()

        producer = self._producer

        def answered(answer: Delivered | Exception) -> None:
            if producer.is_broken and isinstance(answer, PublishRefusedError):
                # Nothing is wrong with the record: another client has to send it.
                answer = BrokerUnavailableError(answer.reason)
            flight.land(each, answer)

        try:
            producer.send(record.topic, record.value, record.key, record.headers, "", answered, queue_timeout=2.0)
        except (PublishError, BrokerUnavailableError) as error:
            answered(error)

    def _kafka(self) -> Arrivals:
        if self._arrivals is None:
            self._arrivals = self._open_arrivals()
        return self._arrivals

    def _rest(self, replay_id: int) -> None:
        self._not_before[replay_id] = self._clock() + _PAUSE_SECONDS
        self._release(replay_id)

    def _release(self, replay_id: int) -> None:
        if (held := self._drop(replay_id)) is not None:
            held.give_back()

    def _drop(self, replay_id: int) -> Holding | None:
        """Without the lease, what was read ahead says nothing about what waits."""
        self._ahead.pop(replay_id, None)
        return self._holdings.pop(replay_id, None)


def _waits(replay: Replay) -> bool:
    """Whether a canary has yet to show what becomes of it."""
    return bool(replay.canary) and not replay.canary_decided
