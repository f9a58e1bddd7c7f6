"""What the API does with consumer groups: documents of them, and who may see and steer which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bus import conf
from bus.control.pauses import own_groups, topics_of
from bus.deadletterindex.times import iso, iso_or_none
from bus.lag.pages import GroupSort, StateFilter, group_page
from bus.ledger import Ledger
from bus.models import GroupEpoch, GroupPause, GroupState
from bus.replay.refusals import UnknownThingError
from eventconsole.api.errors import FORBIDDEN, Problem
from eventconsole.api.group_bodies import GroupsQuery
from eventconsole.api.tokens import Caller

_SORTS = {"name": GroupSort.NAME, "lag": GroupSort.LAG, "timeLag": GroupSort.TIME_LAG}
_ledger: tuple[conf.BusSettings, Ledger] | None = None


def ledger() -> Ledger:
    """The ledger of the current settings."""
    global _ledger
    settings = conf.current()
    if _ledger is None or _ledger[0] is not settings:
        _ledger = settings, Ledger(settings=settings)
    return _ledger[1]


def listed(query: GroupsQuery, caller: Caller) -> dict[str, Any]:
    """A page of the groups that read a topic that the caller may use."""
    descending = query.order == "desc" if query.order else query.sort != "name"
    wanted = StateFilter(q=query.q, is_ours=query.ours, behind=query.behind)
    page = group_page(wanted, query.limit, query.cursor, sort=_SORTS[query.sort], descending=descending)
    rows = [row for row in page.rows if _is_visible(row.topics, caller)]
    names = [row.name for row in rows]
    pauses = _pauses(names)
    epochs = dict(GroupEpoch.objects.filter(group__in=names).values_list("group", "number"))
    data = [document(row, pauses.get(row.name, []), epochs.get(row.name, 0), caller) for row in rows]
    return {"data": data, "next": page.next}


def one(name: str, caller: Caller) -> dict[str, Any]:
    """A group with its partitions. Raises UnknownThingError."""
    visible_topics(name, caller)
    found = GroupState.objects.filter(pk=name).first()
    is_seen = found is not None
    if found is None:
        found = GroupState(name=name, is_ours=True, topics=topics_of(name), trend="")
    epoch = GroupEpoch.objects.filter(group=name).values_list("number", flat=True).first() or 0
    possible = ["pause", "resume"] if name in own_groups() else []
    partitions = [each for each in found.partitions if caller.may_use(each["topic"])]
    made = document(found, _pauses([name]).get(name, []), epoch, caller)
    if not is_seen:
        unknown = ("state", "members", "workers", "lag", "timeLag", "rate", "trend", "drainSeconds")
        made |= dict.fromkeys(unknown) | {"error": "not sampled yet: is manage.py run_monitor running?"}
    return {**made, "partitions": partitions, "possible": [*possible, "reset-offsets"]}


def visible_topics(name: str, caller: Caller) -> list[str]:
    """The group's topics that the caller may use. Raises UnknownThingError when it has none of these, or isn't known.

    Of a foreign group it takes what the monitor saw.
    """
    is_ours = name in own_groups()
    reads = topics_of(name) if is_ours else GroupState.objects.filter(pk=name).values_list("topics", flat=True).first()
    if reads is None or not _is_visible(reads, caller):
        raise UnknownThingError(f"there is no group {name!r:.250}; GET /api/groups lists those there are")
    return [topic for topic in reads if caller.may_use(topic)]


def check_all_topics(name: str, caller: Caller, what: str) -> None:
    """Raise Problem unless the caller may use all topics of the group."""
    mine = visible_topics(name, caller)
    if caller.topics and (others := [topic for topic in topics_of(name) if topic not in mine]):
        raise Problem(
            FORBIDDEN,
            f"To {what} concerns all topics of {name}, and {caller.name} may not use {len(others)} of them; it "
            f"may steer {', '.join(mine)}",
        )


def check_topics(topics: Iterable[str], caller: Caller) -> None:
    """Raise Problem unless the caller may use these topics."""
    for topic in topics:
        if not caller.may_use(topic):
            raise Problem(FORBIDDEN, f"{caller.name} may not use the topic {topic:.250}")


def pause_documents(name: str, caller: Caller) -> list[dict[str, Any]]:
    """What is paused of the group, as far as the caller may use it."""
    return _documents(_pauses([name]).get(name, []), caller)


def document(row: GroupState, pauses: Iterable[GroupPause], epoch: int, caller: Caller) -> dict[str, Any]:
    """A group as JSON; for a caller with some topics only, the figures of these."""
    made: dict[str, Any] = {
        "name": row.name,
        "isOurs": row.is_ours,
        "state": row.state,
        "members": row.members,
        "workers": row.workers,
        "topics": [topic for topic in row.topics if caller.may_use(topic)],
        "lag": row.lag,
        "timeLag": row.time_lag_seconds,
        "rate": row.rate,
        "trend": row.trend,
        "drainSeconds": row.drain_seconds,
        "reason": row.reason,
        "error": row.error,
        "sampledAt": iso_or_none(row.sampled_at),
        "pauses": _documents(pauses, caller),
        "epoch": epoch,
    }
    if caller.topics:
        made |= _figures([each for each in row.partitions if caller.may_use(each["topic"])])
    return made


def _figures(partitions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What some partitions of a group come to; the rest isn't told of these alone."""
    rows = list(partitions)
    lags = [max(0, each["end"] - (each["committed"] or 0)) for each in rows if each.get("end") is not None]
    times = [each["timeLag"] for each in rows if each.get("timeLag") is not None]
    rates = [each.get("rate") or 0.0 for each in rows]
    unknown = {"trend": None, "drainSeconds": None, "reason": "", "error": ""}
    return {"lag": sum(lags), "timeLag": max(times, default=None), "rate": round(sum(rates), 1), **unknown}


def _is_visible(topics: Iterable[str], caller: Caller) -> bool:
    return not caller.topics or any(caller.may_use(topic) for topic in topics)


def _pauses(names: Iterable[str]) -> dict[str, list[GroupPause]]:
    found: dict[str, list[GroupPause]] = {}
    for each in GroupPause.objects.filter(group__in=list(names)).order_by("topic"):
        found.setdefault(each.group, []).append(each)
    return found


def _documents(pauses: Iterable[GroupPause], caller: Caller) -> list[dict[str, Any]]:
    return [_pause(each) for each in pauses if not each.topic or caller.may_use(each.topic)]


def _pause(row: GroupPause) -> dict[str, Any]:
    return {"topic": row.topic, "who": row.who, "why": row.why, "at": iso(row.at)}
