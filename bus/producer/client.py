"""The producer of a process: reserves ids, sends, waits for the broker, and keeps what was acknowledged."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypedDict, Unpack

from bus import conf, handlers
from bus.activity import ActivityLog
from bus.errors import BusError, InvalidEventError, PublishError
from bus.kafka.producer import OnReport, Record, RecordProducer
from bus.ledger import Ledger, PublishRecord
from bus.presence import new_worker_name
from bus.producer.bookkeeping import Bookkeeping, Note, PublishLedger
from bus.producer.dispatch import Dispatch, Outcome, Published, PublishFailure
from bus.producer.drafts import FIELDS, Draft, Drafter, EventInput, Labels, fresh_event_ids, labels_of
from bus.producer.recorder import Recorder

log = logging.getLogger("bus.producer")

_FULL_QUEUE_PAUSE = 0.01
_SENT_EARLY = 200
_GOODBYE_SECONDS = 0.3
_MISSING = object()


class CallOptions(TypedDict, total=False):
    """Options of a call. None is the same as not given."""

    timeout: float | None
    """Seconds to wait for the broker's acknowledgement; BUS_PUBLISH_TIMEOUT unless given."""
    published_by: str | None
    """Who publishes, for the record's header: the group inside a handler, else KAFKA_CLIENT_ID, unless given."""
    traceparent: str | None
    """W3C trace context for the record's header; a malformed one is left out."""


class LabelOptions(CallOptions, total=False):
    """The options that a whole batch can have."""

    priority: str | None
    source: str | None
    correlation_id: str | None
    user_id: str | None
    version: str | None


class PublishOptions(LabelOptions, total=False):
    """The options of one event."""

    key: str | None
    event_id: str | None


class Records(Protocol):
    """What sends records: `bus.kafka.producer.RecordProducer`."""

    is_broken: bool

    def send_some(self, topic: str, records: Sequence[Record], first: int, report: OnReport) -> int: ...
    def failure(self, error: Any, event_id: str) -> PublishError: ...
    def close(self, timeout: float) -> int: ...


class EventProducer:
    """Publishes events. One per process; safe to use from several threads and event loops.

    `clock` is monotonic and `now` the time since 1970, both in seconds.
    """

    def __init__(
        self,
        settings: conf.BusSettings | None = None,
        *,
        ledger: PublishLedger | None = None,
        activity: ActivityLog | None = None,
        open_records: Callable[[conf.BusSettings, Callable[[], None]], Records] = RecordProducer,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or conf.current()
        own = Ledger(settings=self.settings)
        self.bookkeeping = Bookkeeping(ledger or own, clock)
        activity = activity or ActivityLog(own, new_worker_name(self.settings.kafka_client_id), wall_clock=now)
        self._recorder = Recorder(activity, now)
        self._clock = clock
        self._now = now
        self._reports: list[tuple[Dispatch, int, Any, Any]] = []
        self._open_records = open_records
        self._opening = threading.Lock()
        self._taking = threading.Lock()
        self._records = open_records(self.settings, self.after_poll)

    # -- publishing -------------------------------------------------------------------------------------------------

    def publish(self, topic: str, data: Any, **options: Unpack[PublishOptions]) -> Published:
        """See `bus.publish`."""
        return _only(self._run(self._dispatch_one(topic, data, options), options.get("timeout")))

    async def apublish(self, topic: str, data: Any, **options: Unpack[PublishOptions]) -> Published:
        """See `bus.publish`; never blocks the event loop."""
        return _only(await self._arun(self._dispatch_one(topic, data, options), options.get("timeout")))

    def publish_batch(
        self, topic: str, events: Iterable[Mapping[str, Any] | EventInput], **options: Unpack[LabelOptions]
    ) -> list[Outcome]:
        """See `bus.publish_batch`."""
        return self._run(self._dispatch_batch(topic, events, options), options.get("timeout"))

    async def apublish_batch(
        self, topic: str, events: Iterable[Mapping[str, Any] | EventInput], **options: Unpack[LabelOptions]
    ) -> list[Outcome]:
        """See `bus.publish_batch`; never blocks the event loop."""
        return await self._arun(self._dispatch_batch(topic, events, options), options.get("timeout"))

    def close(self, timeout: float) -> int:
        """Wait up to `timeout` seconds for acknowledgements, and stop. Returns how many outcomes stay unknown.

        What pages show of the last events is written then, if Redis takes it at once.
        """
        unknown = self._records.close(timeout)
        self.after_poll()
        self._recorder.close(min(timeout, _GOODBYE_SECONDS))
        return unknown

    # -- the steps of a call ----------------------------------------------------------------------------------------

    def _run(self, dispatch: Dispatch, timeout: float | None) -> list[Outcome]:
        seconds = self.settings.publish_timeout if timeout is None else timeout
        deadline = self._clock() + seconds
        if given := dispatch.ids_to_claim():
            self._claim(dispatch, given)
        while not self._send_rest(dispatch) and self._clock() < deadline:
            time.sleep(_FULL_QUEUE_PAUSE)
        dispatch.all_sent()
        try:
            dispatch.done.result(max(0.0, deadline - self._clock()))
        except TimeoutError:
            pass  # some have no answer: their outcome says so
        outcomes, silent = dispatch.conclude(seconds)
        self.bookkeeping.release(silent, dispatch.token)
        self._recorder.duplicates(dispatch)
        return outcomes

    async def _arun(self, dispatch: Dispatch, timeout: float | None) -> list[Outcome]:
        seconds = self.settings.publish_timeout if timeout is None else timeout
        deadline = self._clock() + seconds
        if given := dispatch.ids_to_claim():
            await asyncio.to_thread(self._claim, dispatch, given)
        while True:
            if self._send_rest(dispatch) or self._clock() >= deadline:
                break
            await asyncio.sleep(_FULL_QUEUE_PAUSE)
        dispatch.all_sent()
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock())):
                await asyncio.wrap_future(dispatch.done)
        except TimeoutError:
            pass  # as above
        outcomes, silent = dispatch.conclude(seconds)
        if silent:
            await asyncio.to_thread(self.bookkeeping.release, silent, dispatch.token)
        self._recorder.duplicates(dispatch)
        return outcomes

    def _dispatch_one(self, topic: str, data: Any, options: PublishOptions) -> Dispatch:
        dispatch, drafter = self._open(topic, options, 1)
        given = options.get("event_id")
        labels = labels_of(options)
        fresh = fresh_event_ids(1)[0]
        dispatch.drafts.append(drafter.draft(0, data, options.get("key"), given, fresh, labels))
        dispatch.given = [] if given is None else [given]
        return dispatch

    def _dispatch_batch(
        self, topic: str, events: Iterable[Mapping[str, Any] | EventInput], options: LabelOptions
    ) -> Dispatch:
        listed = list(islice(events, self.settings.max_batch + 1))
        if not listed:
            raise InvalidEventError("events", "none given, at least one is needed")
        if len(listed) > self.settings.max_batch:
            raise InvalidEventError(
                "events", f"more than {self.settings.max_batch} given, which is the most in a batch (BUS_MAX_BATCH)"
            )
        dispatch, drafter = self._open(topic, options, len(listed))
        defaults = labels_of(options)
        draft, drafts, given = drafter.draft, dispatch.drafts, dispatch.given
        for position, (event, fresh) in enumerate(zip(listed, fresh_event_ids(len(listed)), strict=True)):
            event_id = None
            try:
                data, key, event_id, labels = _read(event, defaults)
                drafts.append(draft(position, data, key, event_id, fresh, labels))
            except BusError as error:
                dispatch.fail(position, event_id if isinstance(event_id, str) else fresh, error)
                continue
            if event_id is not None:
                given.append(event_id)
            elif not given and len(drafts) >= dispatch.sent + _SENT_EARLY:
                # The client compresses and sends these while the next ones are made. Ids of a caller's own come to an
                # end of that: they are claimed first, and what follows them keeps its place.
                self._send_rest(dispatch)
                time.sleep(0)  # lets the poll thread deal with what is acknowledged by now
        return dispatch

    def _open(self, topic: str, options: CallOptions, count: int) -> tuple[Dispatch, Drafter]:
        drafter = Drafter(
            topic,
            at_ms=int(self._now() * 1000),
            published_by=options.get("published_by") or self._publisher(),
            traceparent=options.get("traceparent"),
            max_event_bytes=self.settings.max_event_bytes,
        )
        return Dispatch(drafter, count), drafter

    def _publisher(self) -> str:
        try:
            return handlers.current().group
        except RuntimeError:
            return self.settings.kafka_client_id

    def _claim(self, dispatch: Dispatch, event_ids: list[str]) -> None:
        # Only ids that a caller gave can have been published before: one made here is new.
        answers = self.bookkeeping.claim(dispatch.topic, event_ids, dispatch.token)
        if answers is None:
            return
        known: dict[str, Outcome] = {}
        for event_id, answer in zip(event_ids, answers, strict=True):
            if answer is None:
                dispatch.claimed.add(event_id)
            elif isinstance(answer, PublishRecord):
                known[event_id] = Published(event_id, answer.topic, answer.partition, answer.offset, True)
            elif isinstance(answer, BusError):
                known[event_id] = PublishFailure(event_id, answer)
            else:
                raise answer
        if known:
            dispatch.take_out(known)

    def _send_rest(self, dispatch: Dispatch) -> bool:
        """Hand over what isn't yet; whether that is all."""
        if self._records.is_broken:
            self._replace_records()
        report = partial(self._report, dispatch)
        dispatch.sent = self._records.send_some(dispatch.topic, dispatch.drafts, dispatch.sent, report)
        return dispatch.sent == len(dispatch.drafts)

    def _replace_records(self) -> None:
        with self._opening:
            broken = self._records
            if broken.is_broken:
                log.warning("producer_replaced because the client met an error that it can't recover from")
                self._records = self._open_records(self.settings, self.after_poll)
                threading.Thread(target=broken.close, args=(0,), name="bus-producer-broken", daemon=True).start()

    # -- on the poll thread -----------------------------------------------------------------------------------------

    def _report(self, dispatch: Dispatch, index: int, error: Any, message: Any) -> None:
        self._reports.append((dispatch, index, error, message))

    def after_poll(self) -> None:
        """Deal with all outcomes that came in since the last call: note them together, then tell their callers."""
        if not self._reports:
            return
        with self._taking:
            # Callers append to this very list when the client refuses a record: it isn't exchanged for another one.
            reports = self._reports[:]
            del self._reports[: len(reports)]
        counts: dict[Dispatch, int] = {}
        notes: list[Note] = []
        acknowledged: dict[Dispatch, list[Draft]] = {}
        failed: dict[Dispatch, list[str]] = {}
        try:
            for dispatch, index, error, message in reports:
                counts[dispatch] = counts.get(dispatch, 0) + 1
                draft = dispatch.drafts[index]
                position, event_id, _, _, _, correlation_id = draft
                if error is None:
                    partition, offset = message.partition(), message.offset()
                    dispatch.outcomes[position] = Published(event_id, dispatch.topic, partition, offset)
                    record = PublishRecord(dispatch.topic, partition, offset, dispatch.at_ms, dispatch.by)
                    notes.append((event_id, record, correlation_id))
                    acknowledged.setdefault(dispatch, []).append(draft)
                else:
                    dispatch.fail(position, event_id, self._records.failure(error, event_id))
                    if event_id in dispatch.claimed:
                        failed.setdefault(dispatch, []).append(event_id)
            # Before the callers are told: whoever then asks, or sends again, finds what he was told.
            self.bookkeeping.confirm(notes)
            for dispatch, event_ids in failed.items():
                self.bookkeeping.release(event_ids, dispatch.token)
        finally:
            for dispatch, count in counts.items():
                dispatch.settle(count)
        self._recorder.published(acknowledged)


def _read(event: Mapping[str, Any] | EventInput, defaults: Labels) -> tuple[Any, str | None, str | None, Labels]:
    """Data, key, event id and labels of one event of a batch."""
    if isinstance(event, EventInput):
        given = {name: getattr(event, name) for name in FIELDS}
        return event.data, event.key, event.event_id, labels_of(given, defaults)
    if not isinstance(event, Mapping):
        raise InvalidEventError("event", f"{event!r:.60} given, allowed is a mapping with data")
    if not event.keys() <= FIELDS:
        unknown = sorted(map(str, event.keys() - FIELDS))
        raise InvalidEventError(unknown[0], f"is unknown, allowed are {', '.join(sorted(FIELDS))}")
    get = event.get
    data = get("data", _MISSING)
    if data is _MISSING:
        raise InvalidEventError("data", "is missing")
    return data, get("key"), get("event_id"), labels_of(event, defaults)


def _only(outcomes: list[Outcome]) -> Published:
    outcome = outcomes[0]
    if isinstance(outcome, PublishFailure):
        raise outcome.error
    return outcome
