"""One call of publish: its events on their way, and what became of each."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import NamedTuple

from bus.errors import BrokerUnavailableError, BusError, PublishUnknownError
from bus.producer.drafts import Draft, Drafter


class Published(NamedTuple):
    """An event that Kafka has acknowledged, and where it is.

    `duplicate`: an event with this id was published before, and this is where that one went.
    """

    event_id: str
    topic: str
    partition: int
    offset: int
    duplicate: bool = False


class PublishFailure(NamedTuple):
    """An event of a batch that isn't known to be in Kafka, and why. `error` is what `publish` would have raised."""

    event_id: str
    error: BusError


Outcome = Published | PublishFailure


class Dispatch:
    """The events of one call. The caller fills and sends it, the poll thread settles it.

    `outcomes` has a place per event of the caller; one that is still empty waits for the broker.
    """

    def __init__(self, drafter: Drafter, count: int) -> None:
        self.topic = drafter.topic
        self.by = drafter.published_by
        self.at_ms = drafter.at_ms
        self.token = secrets.token_hex(8)
        self.outcomes: list[Outcome | None] = [None] * count
        self.drafts: list[Draft] = []
        #: How many of the drafts were handed over to be sent.
        self.sent = 0
        #: Ids that the caller gave.
        self.given: list[str] = []
        #: Ids that are reserved in the ledger, and free again when their event fails.
        self.claimed: set[str] = set()
        #: Done when every event that was sent has an outcome.
        self.done: Future[None] = Future()
        # A future that runs can't be cancelled: the poll thread resolves it after its awaiting task is gone.
        self.done.set_running_or_notify_cancel()
        #: Events that weren't sent, because one with their id was: known before, or the first of this call.
        self._known: list[Draft] = []
        self._copies: list[tuple[Draft, int]] = []
        self._lock = threading.Lock()
        self._settled = 0
        self._is_all_sent = False

    def fail(self, position: int, event_id: str, error: BusError) -> None:
        """Give an event up that wasn't sent."""
        self.outcomes[position] = PublishFailure(event_id, error)

    def ids_to_claim(self) -> list[str]:
        """The ids that callers gave, each once; later events with the id of an earlier one will share its outcome."""
        ids = dict.fromkeys(self.given)
        if len(ids) == len(self.given):
            return self.given
        first: dict[str, int] = {}
        kept = []
        for draft in self.drafts:
            if draft.event_id in first:
                self._copies.append((draft, first[draft.event_id]))
            else:
                first[draft.event_id] = draft.position
                kept.append(draft)
        self.drafts = kept
        return list(ids)

    def take_out(self, answers: dict[str, Outcome]) -> None:
        """Take the events out whose outcome is known before they are sent."""
        for draft in self.drafts:
            if draft.event_id in answers:
                self.outcomes[draft.position] = answers[draft.event_id]
                self._known.append(draft)
        self.drafts = [draft for draft in self.drafts if draft.event_id not in answers]

    def all_sent(self) -> None:
        """Say that no more will be sent: events that were not handed over have no outcome to wait for."""
        with self._lock:
            self._is_all_sent = True
            is_done = self._settled == self.sent
        if is_done:
            self.done.set_result(None)

    def settle(self, count: int) -> None:
        """Count outcomes that have come in; called on the poll thread alone."""
        with self._lock:
            self._settled += count
            is_done = self._is_all_sent and self._settled == self.sent
        if is_done:
            self.done.set_result(None)

    def conclude(self, timeout: float) -> tuple[list[Outcome], list[str]]:
        """All outcomes, and the ids whose claims are to be released: those that got no answer in time."""
        silent = []
        for index, draft in enumerate(self.drafts):
            if self.outcomes[draft.position] is not None:
                continue
            silent.append(draft.event_id)
            error = _no_answer(draft.event_id, timeout) if index < self.sent else _queue_full(timeout)
            self.outcomes[draft.position] = PublishFailure(draft.event_id, error)
        for draft, first in self._copies:
            outcome = self.outcomes[first]
            self.outcomes[draft.position] = (
                outcome._replace(duplicate=True) if isinstance(outcome, Published) else outcome
            )
        return [each for each in self.outcomes if each is not None], [each for each in silent if each in self.claimed]

    @property
    def duplicates(self) -> Iterator[tuple[Draft, Published]]:
        """Events that weren't sent because they had been published, and where; once the call is concluded."""
        for draft in (*self._known, *(copy for copy, _ in self._copies)):
            outcome = self.outcomes[draft.position]
            if isinstance(outcome, Published):
                yield draft, outcome


def _no_answer(event_id: str, timeout: float) -> PublishUnknownError:
    return PublishUnknownError(
        event_id,
        f"Kafka gave no answer within {timeout:g} s; whether eventId {event_id} was published is unknown: send it "
        "again with this eventId, consumers drop a second copy",
    )


def _queue_full(timeout: float) -> BrokerUnavailableError:
    return BrokerUnavailableError(
        f"the queue to Kafka was full for {timeout:g} s; the event was not sent, send it again later"
    )
