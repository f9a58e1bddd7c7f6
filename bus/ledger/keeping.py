"""Keeping a group's records from lapsing: what it has handled mustn't be forgotten while it is paused.

A paused group doesn't commit past an event that waits for its retry, however much behind it is handled. Those events
are read again should a worker be started anew, and only their records tell that they are done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from bus.ledger import Ledger
from bus.ledger.records import group_status

_AT_A_TIME = 500


def keep(ledger: Ledger, group: str, topics: frozenset[str] | None, keep_ms: int) -> int:
    """Let each record of the group, in its epoch, live for at least so long from now; returns how many there are.

    With `topics` only the records of events of these. Looks at every key of ours in Redis, some hundred thousand a
    second, and holds nobody up meanwhile. Raises LedgerUnavailableError.
    """
    functions, kept = ledger._functions, 0
    pattern = f"{ledger.prefix}:{{??}}:g:{ledger.epochs.name(group)}:*"
    scanned: Iterator[bytes] = functions.guard(lambda: ledger.client.scan_iter(match=pattern, count=_AT_A_TIME))
    while some := functions.guard(lambda: list(islice(scanned, _AT_A_TIME))):
        if topics is not None:
            some = functions.guard(partial(_of_topics, ledger, group, some, topics))
        functions.guard(partial(_extend, ledger.client, some, keep_ms))
        kept += len(some)
    return kept


def _of_topics(ledger: Ledger, group: str, keys: Sequence[bytes], topics: frozenset[str]) -> list[bytes]:
    pipeline = ledger.client.pipeline(transaction=False)
    for key in keys:
        pipeline.get(key)
    values: list[Any] = pipeline.execute()
    return [
        key for key, value in zip(keys, values, strict=True) if value and group_status(group, value).topic in topics
    ]


def _extend(client: Any, keys: Sequence[bytes], keep_ms: int) -> None:
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.pexpire(key, keep_ms, gt=True)
    if keys:
        pipeline.execute()
