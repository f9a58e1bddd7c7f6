"""A look at some of the events that a group would read again: are they handled already?

Spread over each range, because what was handled lately is remembered and what was handled long ago isn't. It is bounded
in events and in time, and says how many it looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Final, NamedTuple

from bus import conf
from bus.consumer.work import Decoder
from bus.kafka.consumer import Partition
from bus.kafka.reader import RecordReader
from bus.ledger import Ledger, Status
from bus.ledger.statuses import group_statuses

MOST_EVENTS: Final = 500
SECONDS: Final = 3.0
_SLICES: Final = 5


class Sample(NamedTuple):
    """Of `looked_at` events so many are done: `handled`, or given up as `dead_letters`. Both would be skipped.

    `total` events would be read again; with `looked_at` less than that the share is an estimate.
    """

    total: int
    looked_at: int
    handled: int
    dead_letters: int


def sample(
    group: str,
    ranges: Mapping[Partition, tuple[int, int]],
    ledger: Ledger,
    settings: conf.BusSettings | None = None,
    *,
    most: int = MOST_EVENTS,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Sample:
    """Look at events of these partitions, from the first offset of each range up to before its second.

    Raises BrokerUnavailableError and LedgerUnavailableError.
    """
    total = sum(end - first for first, end in ranges.values())
    deadline, found = clock() + seconds, dict[Partition, dict[int, str]]()
    decoder = Decoder(group, {})
    slices = 1 if total <= most else _SLICES
    each_most = max(1, most // (slices * len(ranges)))
    with closing(RecordReader(settings, "reset-plan")) as reader:
        for number in range(slices):
            left: dict[Partition, int] = {}
            places = {}
            for partition, (first, end) in ranges.items():
                start = first + (end - first) * number // slices
                until = first + (end - first) * (number + 1) // slices
                if start < until:
                    places[partition] = start
                    left[partition] = until if slices == 1 else min(until, start + each_most)
            reader.assign(places)
            _read(reader, left, decoder, found, lambda: deadline - clock())
    events = [event_id for ids in found.values() for event_id in ids.values()]
    statuses = group_statuses(ledger, [(event_id, group) for event_id in events])
    handled = sum(each is not None and each.status is Status.PROCESSED for each in statuses)
    dead = sum(each is not None and each.status is Status.FAILED for each in statuses)
    return Sample(total, len(events), handled, dead)


def _read(
    reader: RecordReader,
    left: dict[Partition, int],
    decoder: Decoder,
    found: dict[Partition, dict[int, str]],
    seconds_left: Callable[[], float],
) -> None:
    """Take up ids until each partition was read up to before its offset in `left`, or time is up."""
    open_ones = set(left)
    while open_ones and (rest := seconds_left()) > 0:
        for record in reader.read(200, min(rest, 0.5)):
            partition = (record.topic(), record.partition())
            if partition in open_ones and record.offset() < left[partition]:
                found.setdefault(partition, {})[record.offset()] = decoder.decode(record, partition).event_id
            if partition in left and record.offset() >= left[partition] - 1:
                open_ones.discard(partition)
