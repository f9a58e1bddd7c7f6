"""Places of records as people write them: `order.created/3/1842`, or `order.created[3]@1842`."""

from __future__ import annotations

import re
from typing import NamedTuple

_PLACE = re.compile(r"([a-zA-Z0-9._-]{1,249})(?:/(\d{1,9})/(\d{1,19})|\[(\d{1,9})\]@(\d{1,19}))")


class RecordPlace(NamedTuple):
    """Where a record is."""

    topic: str
    partition: int
    offset: int

    @property
    def path(self) -> str:
        """As it stands in an address: `topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


def read_place(text: str) -> RecordPlace | None:
    """The place that the text names; None when it names none."""
    found = _PLACE.fullmatch(text.strip())
    if found is None:
        return None
    topic, partition, offset, bracketed, at = found.groups()
    place = RecordPlace(topic, int(partition or bracketed), int(offset or at))
    return place if place.partition < 2**31 and place.offset < 2**63 else None
