"""The records of a batch on their way to Kafka, in the order of each key.

A record goes only when the one before it of its topic and key has arrived, or was refused for good: the client may give
one up and still deliver those that it was given after it. What follows a record without an answer stays where it is,
and is sent after that one, once it was read back whether it arrived. Records without a key wait for none.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Sequence

from bus.errors import PublishRefusedError
from bus.kafka.producer import Delivered
from bus.replay.batch import Results
from bus.replay.records import Outgoing

_Chain = deque[Outgoing]


class Flight:
    """One thread sends what `next` gives; answers come on the producer's thread."""

    def __init__(self, records: Sequence[Outgoing]) -> None:
        self.results = Results()
        self.unknown: list[Exception] = []
        self._lock = threading.Lock()
        self._left = len(records)
        self._chains: dict[int, _Chain] = {}
        # None ends it.
        self._ready: queue.SimpleQueue[Outgoing | None] = queue.SimpleQueue()
        by_key: dict[tuple[str, bytes], _Chain] = {}
        for each in records:
            record = each.record
            if record is None or record.key is None:
                self._ready.put(each)
                continue
            chain = by_key.get((record.topic, record.key))
            if chain is None:
                by_key[record.topic, record.key] = chain = deque()
                self._ready.put(each)
            else:
                chain.append(each)
            self._chains[each.item_id] = chain
        if not records:
            self._ready.put(None)

    @property
    def is_over(self) -> bool:
        """Whether nothing is on its way, and nothing more goes."""
        return self._left == 0

    def next(self, timeout: float) -> Outgoing | None:
        """A record that may go now; None when none may within `timeout` seconds, or it is over."""
        try:
            return self._ready.get(timeout=timeout)
        except queue.Empty:
            return None

    def land(self, each: Outgoing, answer: Delivered | Exception) -> None:
        """Take the answer about a record; may be called on any thread."""
        with self._lock:
            chain = self._chains.get(each.item_id)
            self._left -= 1
            if isinstance(answer, Delivered):
                self.results.sent.append((each, answer.partition, answer.offset))
            elif isinstance(answer, PublishRefusedError):
                self.results.refused.append((each, answer.reason))
            else:
                self.unknown.append(answer)
                if chain:
                    self._left -= len(chain)
                    chain.clear()
            if chain:
                self._ready.put(chain.popleft())
            if self._left == 0:
                self._ready.put(None)
