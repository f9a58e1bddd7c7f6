"""Which offset of a partition may be committed.

A worker finishes events in any order, and Kafka remembers one number per partition: the next offset to read. So the
number to commit is the oldest offset that isn't settled, or, when all are, the one after the last taken in.

One `Watermark` belongs to one assignment of one partition. When the partition is taken away the object is dropped with
it; what still runs finishes on the old object and can't move the offset of the next assignment.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence


class Watermark:
    """Offsets taken in and settled during one assignment of one partition.

    Offsets may have gaps (compaction, aborted transactions, transaction markers); a gap holds nothing back.

    Kafka delivers ascending offsets. One that isn't above all before it means that the partition was read again from
    further back (a seek, a reset after the topic was made anew): an offset still unsettled is reported as already in
    hand, a settled one is taken in again, and the number to commit goes back with it, because only the ledger knows
    whether it is the same event.
    """

    __slots__ = ("_next", "_order", "_unsettled")

    def __init__(self) -> None:
        self._order: deque[int] = deque()  # ascending; settled ones stay until all before them are settled
        self._unsettled: set[int] = set()
        self._next: int | None = None

    def add(self, offset: int) -> bool:
        """Take in an offset. False when it is already in hand and unsettled, so must not be worked on a second time."""
        if offset in self._unsettled:
            self._next = offset + 1
            return False
        if not self._order or offset > self._order[-1]:
            self._order.append(offset)
        elif offset not in self._order:
            insort(self._order, offset)
        self._unsettled.add(offset)
        self._next = offset + 1
        return True

    def add_many(self, offsets: Sequence[int]) -> list[int]:
        """Take in a batch of offsets in the order of delivery. Returns those already in hand and unsettled."""
        if not offsets:
            return []
        above = self._next is None or (offsets[0] >= self._next and (not self._order or offsets[0] > self._order[-1]))
        # Sorting a sorted list and building a set are cheaper than a look at each offset.
        if above and len(set(offsets)) == len(offsets) and list(offsets) == sorted(offsets):
            self._order.extend(offsets)
            self._unsettled.update(offsets)
            self._next = offsets[-1] + 1
            return []
        return [offset for offset in offsets if not self.add(offset)]

    def finish(self, offset: int) -> bool:
        """Settle an offset. False, and nothing changed, when it isn't in hand or was settled before."""
        if offset not in self._unsettled:
            return False
        self._unsettled.discard(offset)
        self._pass_settled()
        return True

    def finish_many(self, offsets: Sequence[int]) -> int:
        """Settle offsets in any order; unknown ones are ignored. Returns how many were unsettled until now."""
        before = len(self._unsettled)
        self._unsettled.difference_update(offsets)
        self._pass_settled()
        return before - len(self._unsettled)

    @property
    def committable(self) -> int | None:
        """The next offset to read after a restart; None while nothing was taken in.

        Never passes an unsettled offset, nor, after the partition was read again from further back, what is yet to be
        delivered again.
        """
        if self._next is None or not self._order:
            return self._next
        return min(self._order[0], self._next)

    @property
    def pending(self) -> int:
        """How many offsets are taken in and not settled."""
        return len(self._unsettled)

    @property
    def oldest(self) -> int | None:
        """The oldest unsettled offset, or None."""
        return self._order[0] if self._order else None

    def _pass_settled(self) -> None:
        order, unsettled = self._order, self._unsettled
        while order and order[0] not in unsettled:
            order.popleft()
