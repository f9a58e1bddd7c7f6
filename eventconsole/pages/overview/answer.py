"""Is all well? What is wrong, the most urgent first, each in one sentence with the link that acts on it. Pure.

The order: what stops everything, what hides the truth, what stops a group, what slows it, what somebody should know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bus.models import GroupState
from eventconsole import addresses
from eventconsole.pages.groups.rows import BEHIND_SECONDS, FAR_BEHIND_SECONDS
from eventconsole.pages.overview.situation import Situation
from eventconsole.pages.workers.standing import GONE, LATE
from eventconsole.templatetags.console import counted, number, rate, seconds

SAMPLES_OLD_SECONDS: Final = 30.0
INDEX_BEHIND: Final = 100
INDEX_OLD_SECONDS: Final = 60.0
SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong. `tone` is bad or warn; `at`, when given, is shown in the browser's own zone."""

    tone: str
    text: str
    url: str
    action: str
    at: datetime | None = None
    more: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What stands on top: the sentence, and what else is wrong."""

    tone: str
    first: Trouble
    others: tuple[Trouble, ...] = ()
    left_out: int = 0


def answer(situation: Situation, per_second: float | None) -> Answer:
    """What to say about it. `per_second` is how many events are handled each second; None when nobody knows."""
    found = list(troubles(situation))
    if not found and not situation.groups:
        text = "Nothing is wrong as far as can be seen, but the lag of the groups isn't known yet."
        return Answer("", Trouble("", text, "#self-check", "What is seen"))
    if not found:
        return Answer("good", Trouble("good", calm(situation, per_second), "/events", "Watch events"))
    # A sentence that is about the whole is said as it comes; urgent ones before others, otherwise in their order.
    found.sort(key=lambda each: each.tone != "bad")
    first, *others = found
    return Answer(first.tone, first, tuple(others[:SHOWN]), max(0, len(others) - SHOWN))


def calm(situation: Situation, per_second: float | None) -> str:
    """The sentence when nothing is wrong."""
    said = "nothing happens just now" if not per_second else f"{_rate(per_second)} handled"
    waiting = "nothing waits"
    if situation.lag:
        waiting = f"{counted(situation.lag, 'event')} in hand, {_age(situation)}"
    letters = f"; {counted(situation.open_letters, 'dead letter')} open" if situation.open_letters else ""
    return f"All is well: {said}, {waiting}{letters}."


def _age(situation: Situation) -> str:
    ages = [group.time_lag_seconds for group in situation.groups if group.lag]
    known = [age for age in ages if age is not None]
    if not known:
        return "how old isn't known"
    return f"the oldest {seconds(max(known))} old" + (" as far as is known" if len(known) < len(ages) else "")


def troubles(situation: Situation) -> Iterator[Trouble]:
    """Everything that is wrong, in the order of urgency."""
    yield from _away(situation)
    yield from _monitor(situation)
    yield from _without_worker(situation)
    yield from _handlers(situation)
    yield from _behind(situation)
    yield from _index(situation)
    yield from _workers(situation)
    yield from _errors(situation)
    yield from _paused(situation)


def _away(situation: Situation) -> Iterator[Trouble]:
    now = situation.now.timestamp()
    if situation.kafka.is_away:
        since = _since(situation.kafka.away_since, now)
        yield Trouble(
            "bad",
            f"Kafka can't be reached{since}: nothing is published or handled. Nothing is lost, and workers go on by "
            "themselves when it is back.",
            "#self-check",
            "What is seen",
            more=situation.kafka.error,
        )
    if situation.redis.is_away:
        since = _since(situation.redis.away_since, now)
        pauses = situation.settings.on_redis_down == "pause"
        does = "consumers wait and keep their partitions" if pauses else "events are handled without deduplication"
        yield Trouble(
            "bad",
            f"Redis can't be reached{since}: {does}; publishing goes on. What is shown of workers and events is old.",
            "#self-check",
            "What is seen",
            more=situation.redis.error,
        )
    for problem in situation.unfit:
        yield Trouble("bad", f"{problem[:1].upper()}{problem[1:]}.", "#self-check", "What is seen")


def _monitor(situation: Situation) -> Iterator[Trouble]:
    old = situation.sampled_at or (situation.cluster.asked_at if situation.cluster else None)
    if not situation.monitor_runs:
        what = "lag and dead letters are as of" if old else "nothing is known of lag and dead letters yet"
        yield Trouble(
            "bad",
            f"The monitor doesn't run, and replays wait; start manage.py run_monitor. Here {what}",
            "#self-check",
            "What is seen",
            at=old,
        )
    elif old is not None and (situation.now - old).total_seconds() > SAMPLES_OLD_SECONDS:
        yield Trouble(
            "bad" if not situation.kafka.is_away else "warn",
            "The monitor runs, but doesn't get to see Kafka: lag is as of",
            "#self-check",
            "What is seen",
            at=old,
            more=situation.cluster.error if situation.cluster else "",
        )


def _without_worker(situation: Situation) -> Iterator[Trouble]:
    # Workers can't say that they are there while Redis is away.
    if situation.redis.is_away:
        return
    if not situation.workers:
        yield Trouble(
            "bad",
            "No worker runs, so nothing is handled: start one with manage.py run_consumer.",
            "/workers",
            "Workers",
        )
        return
    served = {group.group for worker in situation.workers for group in worker.groups}
    for group in situation.groups:
        if group.name in served or group.name not in situation.consuming:
            continue
        waiting = f": {counted(group.lag, 'event waits,events wait')}" if group.lag else ""
        yield Trouble("bad" if group.lag else "warn", f"{group.name} has no worker{waiting}.", *_open(group))


def _handlers(situation: Situation) -> Iterator[Trouble]:
    for each in situation.standings:
        for group in each.worker.groups:
            if group.stuck and not each.is_gone:
                yield Trouble(
                    "bad",
                    f"{counted(group.stuck, 'handler')} of {group.group} on {each.worker.host} "
                    f"{'does' if group.stuck == 1 else 'do'} not come back, the oldest for "
                    f"{seconds(group.oldest_seconds)}.",
                    "/workers",
                    "Workers",
                )


def _behind(situation: Situation) -> Iterator[Trouble]:
    paused = {pause.group for pause in situation.pauses if not pause.topic}
    for group in situation.groups:
        lag = group.time_lag_seconds
        if lag is None or lag < BEHIND_SECONDS or group.name in paused:
            continue
        yield Trouble(
            "bad" if lag >= FAR_BEHIND_SECONDS else "warn",
            f"{group.name} is {seconds(lag)} behind, {counted(group.lag, 'event')}{_because(group)}.",
            *_open(group),
        )


def _because(group: GroupState) -> str:
    if group.reason:
        return f": {as_clause(group.reason)}"
    if group.drain_seconds is not None:
        return f"; it will have caught up in about {seconds(group.drain_seconds)}"
    if group.arriving > group.rate:
        return f": {_rate(group.arriving)} arrive, {_rate(group.rate)} are handled"
    return ""


def as_clause(sentence: str) -> str:
    """A sentence as the end of another one."""
    first, _, rest = sentence.removesuffix(".").partition(" ")
    return f"{first.lower() if first in ('All', 'Its', 'No') else first} {rest}"


def _index(situation: Situation) -> Iterator[Trouble]:
    if not situation.monitor_runs or situation.kafka.is_away:
        return
    behind, at = situation.index.behind, situation.index.seen_at
    if at is not None and (situation.now - at).total_seconds() > INDEX_OLD_SECONDS:
        yield Trouble(
            "warn", "The index of dead letters isn't kept up: it is as of", "/dead-letters", "Dead letters", at=at
        )
    elif behind > INDEX_BEHIND:
        text = f"The index of dead letters is {counted(behind, 'record')} behind Kafka, and is catching up."
        yield Trouble("warn", text, "/dead-letters", "Dead letters")


def _workers(situation: Situation) -> Iterator[Trouble]:
    for state, words in ((GONE, "fell silent without stopping"), (LATE, "gave no sign of life lately")):
        some = [each for each in situation.standings if each.state == state]
        if some:
            names = ", ".join(f"{each.worker.host} (pid {each.worker.pid})" for each in some[:3])
            more = f" and {len(some) - 3} more" if len(some) > 3 else ""
            silent = seconds(min(each.silent_seconds for each in some))
            text = f"{counted(len(some), 'worker')} {words}, for {silent}: {names}{more}."
            yield Trouble("warn", text, "/workers", "Workers")


def _errors(situation: Situation) -> Iterator[Trouble]:
    new = [each for each in situation.errors if each.is_new]
    if new:
        first = new[0]
        more = f", and {len(new) - 1} more" if len(new) > 1 else ""
        said = f"{first.title:.120} ({_times(first.group.open)})"
        text = f"{counted(len(new), 'new kind')} of errors within 15 min: {said}{more}."
        yield Trouble("warn", text, first.url if len(new) == 1 else "/dead-letters", "Dead letters")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{number(count)} times"


def _paused(situation: Situation) -> Iterator[Trouble]:
    for pause in situation.pauses:
        what = f"{pause.topic} of {pause.group}" if pause.topic else pause.group
        why = f" (“{pause.why:.120}”)" if pause.why else ""
        text = f"{what} is paused by {pause.who}{why} since"
        yield Trouble("warn", text, addresses.group_url(pause.group), "Open the group", pause.at)


def _open(group: GroupState) -> tuple[str, str]:
    return addresses.group_url(group.name), "Open the group"


def _since(at: float | None, now: float) -> str:
    return f" for {seconds(now - at)}" if at is not None and now - at >= 1 else ""


def _rate(per_second: float) -> str:
    return f"{rate(round(per_second) if per_second >= 10 else per_second)} events/s"
