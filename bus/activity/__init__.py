"""What happens to events right now: a stream in Redis that workers and producers append to, and pages read.

    worker, producer ── count, keep ──▶ ActivityLog ── twice a second ──▶ Redis ──▶ ActivityStream ──▶ pages, monitor

Each process appends one entry per half second in which anything happened: exact counts, how long handlers took, and the
transitions of single events, of which 200 are kept, failures first. The stream is capped and rests on nothing: while
Redis is away entries are dropped, and what became of an event is asked of the ledger.
"""

from __future__ import annotations

from bus.activity.durations import bucket_of, quantile
from bus.activity.entries import Activity, Outcome, Transition
from bus.activity.log import ActivityLog
from bus.activity.stream import ActivityStream

__all__ = ["Activity", "ActivityLog", "ActivityStream", "Outcome", "Transition", "bucket_of", "quantile"]
