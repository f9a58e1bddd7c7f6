"""The ledger: what became of each event lately. The only writer of event state in Redis.

Per event there is one publish record, and one record per consumer group that is deduplication, owner, attempt count and
status at once. Every change is one conditional step of `ledger.lua`, which names the cases:

| the group's record is   | a claim is told    | a settlement                                            |
|-------------------------|--------------------|---------------------------------------------------------|
| not there (or Redis lost it) | granted       | is written                                              |
| running, own lease      | granted            | is written                                              |
| running, own lapsed lease | granted          | is written                                              |
| running, foreign lease  | busy, ms left      | handled is written; anything else is lost               |
| running, lapsed foreign lease | granted, suspect | handled is written; anything else is lost           |
| waiting for its retry   | wait, ms left; granted when due | handled is written; anything else is lost  |
| handled                 | done               | handled stands; anything else is lost                   |
| dead letter             | failed             | the same again stands; anything else is lost            |
| of an older generation  | granted            | is written                                              |
| of a newer generation   | done               | is lost                                                 |

To give back (outcome None) always stands: it undoes the call's own claim and touches nothing else.

A lease belongs to a worker: one key (on a cluster one per hash tag) that holds the number of the worker's newest call.
Calls carry (worker, number); a call repeated after a lost answer changes nothing, an older one is refused. A worker's
name is used by one process, ever: a second one would be taken for the first.

All keys of one event carry the same hash tag, so that the ledger works on a Redis Cluster: there a batch is one
function call per hash tag in one pipeline, on a single Redis one call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bus import conf
from bus.errors import LedgerUnavailableError
from bus.ledger.fitness import problems
from bus.ledger.functions import HASH_TAGS, Call, Functions, connect, hash_tag
from bus.ledger.mirror import Epochs, Mirror
from bus.ledger.records import (
    Answer,
    Attempt,
    Claim,
    EventStatus,
    GroupStatus,
    PublishRecord,
    Settlement,
    Status,
    Verdict,
    claim_answer,
    group_status,
    pack_claim_kind,
    pack_publish,
    pack_settlement,
    pack_settlement_kind,
    publish_answer,
    publish_record,
)

__all__ = [
    "Answer",
    "Attempt",
    "Claim",
    "EventStatus",
    "GroupStatus",
    "Ledger",
    "PublishRecord",
    "Settlement",
    "Status",
    "Verdict",
    "connect",
]

MAX_CORRELATED = 100
#: Who dropped a copy of an event when it wasn't a consumer group: publishing, which had published it before.
PUBLISHING = "publish"

#: Answers without details: one object serves a whole batch.
_PLAIN = (Verdict.GRANTED, Verdict.DONE, Verdict.FAILED)


class Part(NamedTuple):
    """What goes into one call: the hash tag of its lease, and which of the caller's settlements and claims."""

    tag: str
    settled: Sequence[int]
    claimed: Sequence[int]


class Ledger:
    """Event state in Redis. Safe to use from several threads; a worker's `exchange` calls come from one.

    Every method raises LedgerUnavailableError when Redis can't be reached or doesn't do what is asked.
    """

    def __init__(self, client: Any = None, settings: conf.BusSettings | None = None) -> None:
        self.settings = settings or conf.current()
        self.prefix = self.settings.redis_prefix
        self._functions = Functions(client, self.settings)
        self._active_ms = self.settings.failed_seconds * 1000
        self._done_ms = self.settings.dedup_seconds * 1000
        self._lease_ms = int(self.settings.lease_seconds * 1000)
        self.mirror = Mirror(self._functions, self.prefix)
        self.epochs = Epochs(self.mirror)

    @property
    def client(self) -> Any:
        """The Redis client."""
        return self._functions.client

    # -- publishing -------------------------------------------------------------------------------------------------

    def claim_publish(self, topic: str, event_ids: Sequence[str], token: str) -> list[PublishRecord | Exception | None]:
        """Reserve event ids for publishing on a topic, for long enough that the broker has answered.

        Per id: None when it is free, the record when it was published before, or PublishInFlightError or
        EventIdConflictError (not raised: the other events of a batch go on).
        """
        claim_ms = int((self.settings.publish_timeout + 30) * 1000)
        keys = [self._publish_key(each) for each in event_ids]
        answers = self._functions.per_item("claim_publish", keys, [()] * len(keys), claim_ms, token, topic)
        return [publish_answer(topic, each, answer) for each, answer in zip(event_ids, answers, strict=True)]

    def confirm_publish(self, published: Sequence[tuple[str, PublishRecord, str | None]]) -> None:
        """Note acknowledged events, given as (event id, record, correlation id). The first note of an event stands."""
        keys = [self._publish_key(event_id) for event_id, _, _ in published]
        records = [(pack_publish(record),) for _, record, _ in published]
        self._functions.per_item("confirm_publish", keys, records, self._done_ms)
        correlated = [(correlation, event_id) for event_id, _, correlation in published if correlation]
        self._functions.per_item(
            "correlate",
            [self._correlation_key(correlation) for correlation, _ in correlated],
            [(event_id,) for _, event_id in correlated],
            self._done_ms,
            MAX_CORRELATED,
        )

    def release_publish(self, event_ids: Sequence[str], token: str) -> None:
        """Give reserved ids free again: the event was refused, or nobody knows and a resend must be produced."""
        keys = [self._publish_key(each) for each in event_ids]
        self._functions.per_item("release_publish", keys, [()] * len(keys), token)

    # -- consuming --------------------------------------------------------------------------------------------------

    def exchange(
        self, worker: str, number: int, settlements: Sequence[Settlement], claims: Sequence[Claim]
    ) -> tuple[list[bool], list[Answer]]:
        """Settle what finished and claim what is about to run, in one round trip; both may be empty.

        `number` grows with every call of the worker, heartbeats included, and stays below 2^53; the same call may be
        repeated with the same number after a lost answer. A call that was given up may still arrive: until one with a
        newer number has been answered, nobody knows who has what it claimed.

        Per settlement True when the outcome stands (False: another worker owns the event by now), per claim its
        answer. What the worker itself has is granted again: a second copy of an event that is running here is the
        caller's to hold back. Renews the worker's lease, on a cluster for the hash tags of these events.
        """
        if "|" in worker:
            raise ValueError(f"a worker's name is without '|', unlike {worker!r}")
        parts = self._parts(settlements, claims)
        replies = self._functions.call([self._exchange_call(worker, number, p, settlements, claims) for p in parts])
        plain = {verdict.value: Answer(verdict, number) for verdict in _PLAIN}
        kept = [False] * len(settlements)
        answers: list[Any] = [None] * len(claims)
        for part, reply in zip(parts, replies, strict=True):
            if reply[0] == b"STALE":
                raise LedgerUnavailableError(f"call {number} of worker {worker} is older than its newest one")
            for index, letter in zip(part.settled, reply[0].decode(), strict=True):
                kept[index] = letter == "K"
            letters = reply[1].decode()
            for index, letter in zip(part.claimed, letters, strict=True):
                answers[index] = plain.get(letter)
            for at, detail in zip(reply[2][::2], reply[2][1::2], strict=True):
                answers[part.claimed[at]] = claim_answer(letters[at], number, detail)
        return kept, answers

    def heartbeat(self, worker: str, number: int) -> None:
        """Renew the worker's lease for all events it has. An older number than the newest renews nothing."""
        parts = [Part(tag, (), ()) for tag in self._lease_tags()]
        self._functions.call([self._exchange_call(worker, number, part, (), ()) for part in parts])

    def end_lease(self, worker: str) -> None:
        """Let what the worker still has be taken over at once: it stopped, or is known to be dead."""
        keys = [self._lease_key(tag, worker) for tag in self._lease_tags()]
        self._functions.guard(lambda: self.client.delete(*keys))

    # -- copies -----------------------------------------------------------------------------------------------------

    def count_duplicates(self, dropped: Mapping[tuple[str, str], int]) -> None:
        """Add up copies that were dropped, given as (event id, group or PUBLISHING) and how many."""
        keys = [self._duplicates_key(event_id) for event_id, _ in dropped]
        counts = [(who, number) for (_, who), number in dropped.items()]
        self._functions.per_item("count_duplicates", keys, counts, self._done_ms)

    def duplicates(self, event_id: str) -> dict[str, int]:
        """How many copies of the event each group has dropped, and publishing, as "publish".

        Forgotten an hour (BUS_DEDUP_SECONDS) after the last one. For showing: a process reports up to 200 copies per
        half second, and what it reports while Redis is away is lost, so there may have been more.
        """
        found = self._functions.guard(lambda: self.client.hgetall(self._duplicates_key(event_id)))
        return {who.decode(): int(number) for who, number in found.items()}

    # -- asking -----------------------------------------------------------------------------------------------------

    def status(self, event_id: str, groups: Iterable[str]) -> EventStatus | None:
        """What became of the event in these groups, in the epoch of each; None when nothing is known of it."""
        names = list(groups)
        known_as = [self.epochs.name(name) for name in names]
        keys = [self._publish_key(event_id), *(self._group_key(name, event_id) for name in known_as)]
        first, *values = self._functions.guard(lambda: self.client.mget(keys))
        published = publish_record(first)
        found = tuple(group_status(name, value) for name, value in zip(names, values, strict=True) if value)
        return EventStatus(event_id, published, found) if published or found else None

    def correlated(self, correlation_id: str) -> list[str]:
        """Ids of events published with this correlation id in the last hour, oldest first, 100 at most."""
        found = self._functions.guard(lambda: self.client.lrange(self._correlation_key(correlation_id), 0, -1))
        return list(dict.fromkeys(each.decode() for each in found))

    def ping(self) -> None:
        """Return when Redis answers; on a cluster every primary must, as each has its share of the events."""
        self._functions.guard(lambda: self.client.ping(**self._functions.everywhere))

    def problems(self) -> list[str]:
        """What is wrong with this Redis though it answers: it may forget what it must not, or refuse to write.

        Raises ConfigurationError when it has no functions.
        """
        found: list[str] = self._functions.guard(lambda: problems(self.client, self._functions.is_cluster))
        return found

    # -- keys and calls ---------------------------------------------------------------------------------------------

    def _publish_key(self, event_id: str) -> str:
        return f"{self.prefix}:{hash_tag(event_id)}:e:{event_id}"

    def _group_key(self, group: str, event_id: str) -> str:
        return f"{self.prefix}:{hash_tag(event_id)}:g:{group}:{event_id}"

    def _duplicates_key(self, event_id: str) -> str:
        return f"{self.prefix}:{hash_tag(event_id)}:d:{event_id}"

    def _lease_key(self, tag: str, worker: str) -> str:
        return f"{self.prefix}:{tag}:w:{worker}"

    def _correlation_key(self, correlation_id: str) -> str:
        return f"{self.prefix}:{hash_tag(correlation_id)}:c:{correlation_id}"

    def _lease_tags(self) -> Sequence[str]:
        return HASH_TAGS if self._functions.is_cluster else HASH_TAGS[:1]

    def _parts(self, settlements: Sequence[Settlement], claims: Sequence[Claim]) -> list[Part]:
        """What goes into one call each: everything, or on a cluster the events of one hash tag."""
        if not self._functions.is_cluster:
            return [Part(HASH_TAGS[0], range(len(settlements)), range(len(claims)))]
        parts: dict[str, tuple[list[int], list[int]]] = {}
        for index, settlement in enumerate(settlements):
            parts.setdefault(hash_tag(settlement.event_id), ([], []))[0].append(index)
        for index, claim in enumerate(claims):
            parts.setdefault(hash_tag(claim.event_id), ([], []))[1].append(index)
        return [Part(tag, settled, claimed) for tag, (settled, claimed) in parts.items()]

    def _exchange_call(
        self, worker: str, number: int, part: Part, settlements: Sequence[Settlement], claims: Sequence[Claim]
    ) -> Call:
        keys = [self._lease_key(part.tag, worker)]
        events: list[Any] = []
        # Most events of a batch have much in common, which is sent once: a kind is a row of it, counted from 1.
        settled_kinds: dict[tuple[Any, ...], int] = {}
        for index in part.settled:
            settlement = settlements[index]
            keys.append(self._group_key(settlement.group, settlement.event_id))
            kind = pack_settlement_kind(settlement)
            events += (settled_kinds.setdefault(kind, len(settled_kinds) + 1), pack_settlement(settlement))
        claimed_kinds: dict[tuple[Any, ...], int] = {}
        for index in part.claimed:
            claim = claims[index]
            keys.append(self._group_key(claim.group, claim.event_id))
            events.append(claimed_kinds.setdefault(pack_claim_kind(claim), len(claimed_kinds) + 1))
        arguments: list[Any] = [worker, number, self._lease_ms, self._active_ms, self._done_ms]
        arguments += (len(part.settled), len(settled_kinds), len(claimed_kinds))
        for kind in (*settled_kinds, *claimed_kinds):
            arguments += kind
        return Call("exchange", keys, arguments + events)
