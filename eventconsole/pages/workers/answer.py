"""How the workers stand, in one sentence. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from eventconsole.pages.workers.standing import GONE, LATE, Standing, versions
from eventconsole.templatetags.console import counted, seconds


class Answer(NamedTuple):
    """The sentence and its tone: good, warn or bad."""

    tone: str
    text: str


def answer(standings: Sequence[Standing], away: str, *, known: bool) -> Answer:
    """What to say. `away` is why Redis can't be asked; `known`, whether it was before."""
    if away:
        old = " What is below is as it was said last." if known else ""
        return Answer("bad", f"Redis can't be reached, where workers say that they are there: {away}.{old}")
    alive = [each for each in standings if not each.is_gone]
    if not alive:
        gone = f" {counted(len(standings), 'worker')} fell silent within the hour." if standings else ""
        return Answer("bad", f"No worker runs, so nothing is handled.{gone} Start one: manage.py run_consumer --all")
    wrong = "; ".join(_wrong(standings))
    if wrong:
        is_bad = len(alive) < len(standings) or any(each.stuck for each in alive)
        return Answer("bad" if is_bad else "warn", f"{wrong[:1].upper()}{wrong[1:]}.")
    return Answer("good", _well(alive))


def _wrong(standings: Sequence[Standing]) -> Iterator[str]:
    stuck = sum(each.stuck for each in standings if not each.is_gone)
    if stuck:
        yield f"{counted(stuck, 'handler')} {'does' if stuck == 1 else 'do'} not come back"
    for state, words in ((GONE, "fell silent without stopping"), (LATE, "gave no sign of life lately")):
        if count := sum(each.state == state for each in standings):
            yield f"{counted(count, 'worker')} {words}"
    mixed = versions(standings)
    if len(mixed) > 1:
        yield f"workers run different versions: {', '.join(f'{count} × {version}' for version, count in mixed)}"


def _well(alive: Sequence[Standing]) -> str:
    per_second = sum(each.rate for each in alive)
    busy = sum(each.in_flight for each in alive)
    longest = max((each.oldest.oldest_seconds for each in alive if each.oldest), default=0.0)
    rate = f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}"
    slow = f", the oldest since {seconds(longest)}" if longest >= 1 else ""
    return f"{counted(len(alive), 'worker')} alive: {rate} events/s handled, {counted(busy, 'event')} in flight{slow}."
