"""Finding one event by what somebody has of it: its id, a correlation id, or the place of its record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import bus
from bus import envelope
from bus.deadletterindex.pages import LetterFilter, letter_page
from bus.deadletterindex.summaries import letters_of_event
from bus.envelope import MAX_EVENT_ID
from bus.errors import BrokerUnavailableError, EnvelopeError, LedgerUnavailableError
from eventconsole.addresses import event_url
from eventconsole.pages.events.recent import lately
from eventconsole.places import RecordPlace, read_place
from eventconsole.records import OpenedRecord, desk
from eventconsole.state import ledger, ledger_hours

_MOST = 20
#: Of a shortened id so many characters must be given.
_SHORTEST = 4


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several events that were found."""

    url: str
    event_id: str
    words: str


@dataclass(slots=True)
class Finding:
    """`url` when exactly one was found, `choices` when several were; `looked` says where it was looked for in vain."""

    text: str
    url: str = ""
    choices: list[Choice] = field(default_factory=list)
    what: str = ""
    looked: list[str] = field(default_factory=list)
    topic: str = ""

    @property
    def words(self) -> str:
        """What was found, in words."""
        if self.choices:
            return self.what
        return f"No event is called {self.text:.128}. {' '.join(self.looked)}".strip()


def find(text: str) -> Finding:
    """Look in the ledger, among the dead letters, and for a place in Kafka (within 5 s). Never raises."""
    wanted = text.strip().strip('"')
    finding = Finding(wanted)
    if not wanted or len(wanted) > 2 * MAX_EVENT_ID or not wanted.isprintable():
        return finding
    place = read_place(wanted)
    if place is not None and _find_place(place, finding):
        return finding
    _find_in_ledger(wanted, finding)
    if not (finding.url or finding.choices):
        _find_dead_letters(wanted, finding)
    if not (finding.url or finding.choices):
        _find_shortened(wanted, finding)
    return finding


def _find_place(place: RecordPlace, finding: Finding) -> bool:
    finding.topic = place.topic
    try:
        record = desk().read(*place)
    except BrokerUnavailableError as error:
        finding.looked.append(f"Kafka is away, so the record at {place} can't be read: {error}.")
        return False
    if record is None:
        finding.looked.append(f"Kafka has no record at {place}: it was deleted by now, or there never was one.")
        return False
    finding.url = event_url(_id_of(record, place), at=place.path)
    return True


def _id_of(record: OpenedRecord, place: RecordPlace) -> str:
    """The id that the bus knows the event by."""
    for name, value in record.headers:
        if name == envelope.EVENT_ID and value:
            given = value.decode(errors="replace")
            if len(given) <= MAX_EVENT_ID and given.isprintable():
                return given
    try:
        found = envelope.decode(record.value).metadata.event_id
    except EnvelopeError:
        found = ""
    return found or envelope.derived_event_id(*place)


def _find_in_ledger(wanted: str, finding: Finding) -> None:
    try:
        if len(wanted) <= MAX_EVENT_ID and bus.event_status(wanted) is not None:
            finding.url = event_url(wanted)
            return
        correlated = ledger().correlated(wanted)
    except LedgerUnavailableError as error:
        finding.looked.append(f"Redis is away, so only dead letters could be looked through: {error}.")
        return
    _choose(finding, correlated, f"events have the correlation id {wanted:.80}")
    if not (finding.url or finding.choices):
        finding.looked.append(f"Redis doesn't know it; it keeps events {ledger_hours()}.")


def _find_dead_letters(wanted: str, finding: Finding) -> None:
    if letters_of_event(wanted):
        finding.url = event_url(wanted)
        return
    letters = letter_page(LetterFilter(correlation_id=wanted), _MOST).rows
    _choose(finding, (letter.event_id for letter in letters), f"dead letters have the correlation id {wanted:.80}")
    if not (finding.url or finding.choices):
        finding.looked.append("No dead letter has it either.")


def _find_shortened(wanted: str, finding: Finding) -> None:
    """Ids are shown shortened in the middle, and people type what they see."""
    begin, _, end = wanted.partition("…")
    if len(begin) < _SHORTEST:
        return
    try:
        transitions = lately.transitions()
    except LedgerUnavailableError:
        return
    ids = (each.event_id for each in transitions if each.event_id.startswith(begin) and each.event_id.endswith(end))
    _choose(finding, ids, f"events of late have an id that begins with {begin:.80}")


def _choose(finding: Finding, event_ids: Iterable[str], what: str) -> None:
    found = list(dict.fromkeys(event_ids))
    if len(found) == 1:
        finding.url = event_url(found[0])
    elif found:
        finding.choices = [_choice(each) for each in found[:_MOST]]
        finding.what = f"{len(found)} {what}" + (f"; these are the first {_MOST}." if len(found) > _MOST else ".")


def _choice(event_id: str) -> Choice:
    try:
        known = bus.event_status(event_id)
    except LedgerUnavailableError:
        known = None
    topic = known.published.topic if known and known.published else ""
    return Choice(event_url(event_id), event_id, topic)
