"""Links and words of the dead letter pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import template

from bus.models import AuditEntry, DeadLetter, ErrorGroupPlace, LetterStatus
from eventconsole.pages.dead_letters.cards import Card
from eventconsole.pages.dead_letters.search import NO_GROUP, Search, term

register = template.Library()

_TOLD = {
    "dead-letter.replay": "replayed it",
    "dead-letter.edit-and-replay": "replayed an edited copy",
    "dead-letter.undo-replay": "took the replay back",
    "dead-letters.discard": "discarded",
    "dead-letters.restore": "restored",
    "error-group.note": "changed the note",
    "replay.plan": "planned replay",
    "replay.run": "started replay",
    "replay.pause": "paused replay",
    "replay.rate": "changed the rate of replay",
    "replay.resume": "resumed replay",
    "replay.cancel": "cancelled replay",
}


@register.simple_tag
def filter_link(base: str, status: str, field: str = "", value: str = "") -> str:
    """The query of a link to dead letters: a term, a status, and one more field."""
    terms = [base]
    if field:
        terms.append(term(field, value or NO_GROUP if field == "group" else value))
    if status != LetterStatus.OPEN:
        terms.append(f"status:{status}")
    return "?" + urlencode({"filter": " ".join(terms)})


@register.simple_tag
def place_link(base: str, place: ErrorGroupPlace, status: str) -> str:
    """The query of a link to the dead letters of an error in one topic and consumer group."""
    return filter_link(f"{base} {term('topic', place.topic)}", status, "group", place.group)


@register.simple_tag
def letters_link(**fields: Any) -> str:
    """The query of a link to dead letters by fields of the filter, such as `topic` and `status`."""
    terms = [term(name, str(value)) for name, value in fields.items() if value not in (None, "")]
    return "?" + urlencode({"filter": " ".join(terms)})


@register.filter
def plan_filter(card: Card, search: Search) -> dict[str, Any]:
    """What is planned when the button of a card is pressed: the error group, within the search."""
    return {**search.document(), "fingerprint": card.group.pk, "status": LetterStatus.OPEN.value}


@register.filter
def all_filter(card: Card, search: Search) -> str:
    """The same as a text for the filter field."""
    terms = [card.term]
    for name in ("topic", "group"):
        if (value := search.given.get(name)) is not None:
            terms.append(term(name, value or NO_GROUP))
    return " ".join(terms)


@register.filter
def short_frame(frame: str) -> str:
    """`/app/shop/handlers/mail.py:41 in send` as `mail.py:41 in send`."""
    return frame.rpartition("/")[2][:80]


@register.filter
def shortened(value: str) -> str:
    """An id cut in the middle, for a link; the whole is its title."""
    return value if len(value) <= 17 else f"{value[:8]}…{value[-4:]}"


@register.filter
def told(entry: AuditEntry) -> str:
    """What somebody did, as a sentence goes on after the name."""
    if entry.what == "dead-letters.keep":
        return "keeps it beyond Kafka's retention" if entry.detail.get("keep") else "doesn't keep it any more"
    words = _TOLD.get(entry.what, entry.what)
    if entry.what in ("dead-letters.discard", "dead-letters.restore"):
        return f"{words} {'it' if entry.changed == 1 else f'{entry.changed:,} dead letters'}"
    if entry.what.startswith("replay.") and entry.target:
        return f"{words} {entry.target}" + (
            f" of {entry.changed:,} dead letter{'s' * (entry.changed != 1)}" if entry.what == "replay.plan" else ""
        )
    return words


@register.filter
def stands_for(letter: DeadLetter) -> str:
    """The status of a dead letter among its generations."""
    return "failed again" if letter.status == LetterStatus.SUPERSEDED else str(letter.status)
