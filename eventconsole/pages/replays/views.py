"""The list of replays, and the page of one: plan, progress, outcome, items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from bus import audit
from bus.deadletterindex.times import iso_or_none
from bus.models import DeadLetter, Replay, ReplayItem
from bus.replay.engine import LIVE_SECONDS
from bus.replay.plan import SAMPLE, Warn, told_of
from bus.replay.states import ACTIVE
from eventconsole.models import Scope
from eventconsole.pages import sight
from eventconsole.pages.access import needs, problem
from eventconsole.pages.listing import PAGE_ROWS, export, wants_export
from eventconsole.pages.replays import operation as operations
from eventconsole.pages.replays.operation import Operation, operation_of, operations_of

#: What rows of an operation can be asked for, in the order in which they happen.
ITEM_STATES: Final = tuple(state.value for state in ReplayItem.State)
_LARGEST: Final = 2**63 - 1


@needs(Scope.READ)
def page(request: HttpRequest) -> HttpResponse:
    """Operations: first those that run or wait for somebody, then all, the newest first."""
    now = datetime.now(UTC)
    wanted = request.GET.get("state", "")
    wanted = wanted if wanted in Replay.State.values else ""
    if kind := wants_export(request):
        return export(kind, "replays", _exported(wanted))
    before = _number(request.GET.get("cursor"))
    found = Replay.objects.order_by("-pk")
    if wanted:
        found = found.filter(state=wanted)
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(found[: PAGE_ROWS + 1])
    next_ = rows[PAGE_ROWS - 1].pk if len(rows) > PAGE_ROWS else None
    context = {
        "active": (active := active_operations(now)),
        "summary": summary_of(active),
        "rows": operations_of(rows[:PAGE_ROWS], now),
        "next": next_,
        "before": before,
        "state": wanted,
        "states": Replay.State.values,
    }
    return render(request, "console/replays/list.html", context)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the first sentence of the list says."""

    stopped: Sequence[Operation]
    paused: int
    running: int

    @property
    def tone(self) -> str:
        """Loud when somebody has to decide."""
        return "bad" if self.stopped else "warn" if self.paused else "" if self.running else "good"


def summary_of(active: Sequence[Operation]) -> Summary:
    """Who waits for whom."""
    states = [op.replay.state for op in active]
    stopped = [op for op in active if op.replay.state == Replay.State.STOPPED_BY_CANARY]
    paused = states.count(Replay.State.PAUSED)
    return Summary(stopped, paused, len(states) - len(stopped) - paused)


def active_operations(now: datetime) -> list[Operation]:
    """What runs, rests or waits for somebody, the newest first."""
    return operations_of(list(Replay.objects.filter(state__in=ACTIVE).order_by("-pk")[:PAGE_ROWS]), now)


@needs(Scope.READ)
def operation(request: HttpRequest, replay_id: int) -> HttpResponse:
    """One operation."""
    replay = Replay.objects.filter(pk=min(replay_id, _LARGEST)).first()
    if replay is None:
        return problem(
            request,
            404,
            "No such replay",
            f"There is no replay {replay_id}.",
            "The list has all that there are.",
            ("/replays", "To the replays"),
        )
    items = items_of(replay, request.GET.get("state", ""), _number(request.GET.get("cursor")))
    if kind := wants_export(request):
        return export(kind, f"replay-{replay_id}", _exported_items(replay, items.state))
    context = {
        "op": operation_of(replay, datetime.now(UTC)),
        "plan": plan_of(replay) if replay.state == Replay.State.PLANNED else None,
        "items": items,
        "entries": audit.of_replay(replay.pk),
        "room": {"id": replay.pk, "state": items.state, "cursor": items.after or ""},
        "canary": operations.CANARY,
        "stop_at_percent": operations.STOP_AT_PERCENT,
    }
    return render(request, "console/replays/replay.html", context)


@dataclass(frozen=True, slots=True)
class PlanView:
    """What to know before it runs."""

    sample: Sequence[DeadLetter]
    warnings: Sequence[Warn]
    more: int
    knows_workers: bool


def plan_of(replay: Replay) -> PlanView:
    """Sample and warnings of a plan, as of now: a worker that has started meanwhile is counted."""
    sample = list(DeadLetter.objects.filter(replay_items__replay=replay).order_by("replay_items__sequence")[:SAMPLE])
    alive = live_groups(datetime.now(UTC).timestamp())
    return PlanView(sample, told_of(replay, alive), replay.total - len(sample), alive is not None)


def live_groups(at: float) -> set[str] | None:
    """Groups with a live worker; None when nobody can say. `at` is in seconds since 1970. Never waits for Redis."""
    seen = sight.redis.see()
    if seen.is_away or seen.value is None:
        return None
    return {group.group for each in seen.value.workers if each.seen_at >= at - LIVE_SECONDS for group in each.groups}


@dataclass(frozen=True, slots=True)
class ItemView:
    """A dead letter of a replay, and what stands for it since it failed again."""

    item: ReplayItem
    letter: DeadLetter | None
    newer: int | None


@dataclass(frozen=True, slots=True)
class Items:
    """A page of a replay's dead letters; `state` is the one that was asked for, empty for all."""

    rows: Sequence[ItemView]
    state: str
    next: int | None
    after: int | None
    states: Sequence[str] = ITEM_STATES


def items_of(replay: Replay, state: str, after: int | None) -> Items:
    """In the order in which they are sent: three queries."""
    state = state if state in ITEM_STATES else ""
    found = ReplayItem.objects.filter(replay=replay).order_by("sequence")
    if state:
        found = found.filter(state=state)
    if after is not None:
        found = found.filter(sequence__gt=after)
    rows = list(found[: PAGE_ROWS + 1])
    next_ = rows[PAGE_ROWS - 1].sequence if len(rows) > PAGE_ROWS else None
    return Items(_with_letters(rows[:PAGE_ROWS]), state, next_, after)


def _with_letters(rows: Sequence[ReplayItem]) -> list[ItemView]:
    ids = [row.dead_letter_id for row in rows]
    letters = DeadLetter.objects.in_bulk(ids)
    newer = dict(DeadLetter.objects.filter(previous__in=ids).values_list("previous_id", "pk"))
    return [ItemView(row, letters.get(row.dead_letter_id), newer.get(row.dead_letter_id)) for row in rows]


def _exported(state: str) -> Iterator[dict[str, Any]]:
    now, before = datetime.now(UTC), None
    while True:
        found = Replay.objects.order_by("-pk")
        found = found.filter(state=state) if state else found
        rows = list((found.filter(pk__lt=before) if before else found)[:500])
        if not rows:
            return
        yield from (_row(each) for each in operations_of(rows, now))
        before = rows[-1].pk


def _row(op: Operation) -> dict[str, Any]:
    return {
        "id": op.replay.pk,
        "state": op.replay.state,
        "kind": op.replay.kind,
        "of": op.title,
        "total": op.replay.total,
        "sent": op.progress.sent,
        "handled": op.progress.handled,
        "failedAgainSame": op.replay.failed_again_same,
        "failedAgainOther": op.replay.failed_again_other,
        "pending": op.progress.pending,
        "skipped": op.progress.skipped,
        "createdAt": iso_or_none(op.replay.created_at),
        "createdBy": op.replay.created_by,
        "finishedAt": iso_or_none(op.replay.finished_at),
        "reason": op.replay.reason,
    }


def _exported_items(replay: Replay, state: str) -> Iterator[dict[str, Any]]:
    after: int | None = None
    while True:
        page = items_of(replay, state, after)
        for row in page.rows:
            yield {
                "sequence": row.item.sequence,
                "deadLetter": row.item.dead_letter_id,
                "eventId": row.letter.event_id if row.letter else None,
                "topic": row.letter.topic if row.letter else None,
                "group": row.letter.group if row.letter else None,
                "state": row.item.state,
                "note": row.item.note,
                "failedAgainAs": row.newer,
                "sentAt": iso_or_none(row.item.sent_at),
                "finishedAt": iso_or_none(row.item.finished_at),
            }
        if page.next is None:
            return
        after = page.next


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None
