"""The filter of dead letters as people type it, and as the index takes it.

The index finds dead letters by whole values, so that each page costs the same whatever there is; the words of the
language that would make it look at every row are refused here with what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bus.deadletterindex.pages import GroupFilter, LetterFilter
from bus.deadletterindex.summaries import Completed, completions
from bus.deadletterindex.times import iso, moment
from bus.deadletters import Reason
from bus.models import ErrorGroup, LetterStatus
from eventconsole.filters import Field, FilterProblem, Language, Term

STATUSES: Final = ("open", "replaying", "discarded", "resolved", "any")
NO_GROUP: Final = "none"
"""How dead letters that name no group are asked for."""

#: Field of the language, and the name that the index and the API have for it.
_NAMES: Final = {
    "topic": "topic",
    "group": "group",
    "error": "error_type",
    "reason": "reason",
    "status": "status",
    "key": "key",
    "since": "since",
    "until": "until",
    "fingerprint": "fingerprint",
    "event": "event_id",
    "type": "event_type",
    "correlation": "correlation_id",
}
_HELP: Final = {
    "topic": "where the event failed",
    "group": f"the consumer group that failed; {NO_GROUP} where it isn't named",
    "error": "the type of the error",
    "reason": "exhausted, permanent, undecodable or crash",
    "status": "open unless you say otherwise; any for all",
    "key": "the event's key",
    "since": "last failed then or later: 15m, 4h, 2d or 2026-11-24T12:00",
    "until": "last failed before: 15m, 4h, 2d or 2026-11-24T12:00",
    "fingerprint": "an error group",
    "event": "the eventId",
    "type": "the eventType",
    "correlation": "the correlation id",
}
_AGES: Final = ("15m", "1h", "4h", "1d", "7d")
_AGE: Final = re.compile(r"([0-9]{1,5})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# What the counts of error groups can tell; of anything narrower only the list knows.
_OF_GROUPS: Final = frozenset({"topic", "group", "error_type", "status", "fingerprint"})


def _nothing(row: None) -> None:
    return None


def _fields() -> Iterable[Field[None]]:
    known = {"status": lambda: STATUSES, "reason": lambda: [each.value for each in Reason]}
    suggested = {"since": lambda: _AGES, "until": lambda: _AGES}
    for name, words in _HELP.items():
        yield Field(name, words, _nothing, known.get(name), suggested.get(name))


LANGUAGE: Final[Language[None]] = Language(_fields(), lambda row: "")


@dataclass(frozen=True, slots=True)
class Search:
    """What somebody looks for. `text` is how it stands in the address; `given` has the names of LetterFilter."""

    text: str
    given: dict[str, Any]
    status: str

    @property
    def letters(self) -> LetterFilter:
        """The dead letters that fit."""
        return LetterFilter(**self.given)

    @property
    def groups(self) -> GroupFilter | None:
        """The error groups whose counts are those of this search; None when only the list can tell."""
        if set(self.given) - _OF_GROUPS:
            return None
        return GroupFilter(**{name: value for name, value in self.given.items() if name != "fingerprint"})

    @property
    def fingerprint(self) -> str | None:
        """The one error group that is looked for."""
        return self.given.get("fingerprint")

    @property
    def is_narrow(self) -> bool:
        """Whether more than a status is asked for."""
        return bool(set(self.given) - {"status"})

    def document(self) -> dict[str, Any]:
        """The filter as the API takes it."""
        return {
            _camel(name): iso(value) if isinstance(value, datetime) else value for name, value in self.given.items()
        }

    def with_status(self, status: str) -> str:
        """The text of the same search for another status; nothing is said for open, which is meant anyhow."""
        terms = [str(term) for term in LANGUAGE.parse(self.text).terms if term.field != "status"]
        if status != LetterStatus.OPEN:
            terms.append(f"status:{status}")
        return " ".join(terms)


def read(text: str, now: datetime) -> Search:
    """The search that a text means. Raises FilterProblem."""
    given: dict[str, Any] = {"status": LetterStatus.OPEN.value}
    words: list[str] = []
    seen: set[str] = set()
    for term in LANGUAGE.parse(text).terms:
        if term.is_negated:
            raise FilterProblem(term.position, "dead letters are found by what they are; leave the minus out")
        if any("\x00" in piece for pattern in term.patterns for piece in pattern.pieces):
            raise FilterProblem(term.position, "NUL is in no dead letter; leave it out")
        if not term.field:
            words.append(term.patterns[0].pieces[0])
            continue
        if term.field in seen:
            raise FilterProblem(term.position, f"{term.field} is there twice; a dead letter has one")
        seen.add(term.field)
        given[_NAMES[term.field]] = _value(term, now)
    if given["status"] == "any":
        del given["status"]
    if words:
        given["q"] = " ".join(words)
    if "since" in given and "until" in given and given["since"] >= given["until"]:
        raise FilterProblem(0, "since isn't before until, so nothing can fit")
    return Search(text.strip(), given, given.get("status", "any"))


def _value(term: Term, now: datetime) -> Any:
    if len(term.patterns) > 1 or not term.patterns[0].is_exact:
        raise FilterProblem(
            term.position, f"{term.field} takes one whole value, no * and no list; put a value with a comma in quotes"
        )
    value = term.patterns[0].pieces[0]
    if term.field in ("since", "until"):
        return _moment(term, value, now)
    if term.field == "group" and value == NO_GROUP:
        return ""
    return value.lower() if term.field in ("status", "reason") else value


def _moment(term: Term, value: str, now: datetime) -> datetime:
    try:
        if age := _AGE.fullmatch(value):
            return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        return moment(value)
    except (ValueError, OverflowError):
        problem = f"{term.field} is an age such as 15m, 4h or 2d, or a time such as 2026-11-24T12:00 (UTC)"
        raise FilterProblem(term.position, problem, _AGES) from None


def values(field: str, typed: str) -> list[str]:
    """Names in the index for completion."""
    if field == "fingerprint":
        found = ErrorGroup.objects.filter(pk__startswith=typed).order_by("-last_seen_at")
        return list(found.values_list("pk", flat=True)[:12])
    of = {"topic": Completed.TOPIC, "group": Completed.GROUP, "error": Completed.ERROR_TYPE, "type": Completed.TOPIC}
    return completions(of[field], typed) if field in of else []


def from_parameters(parameters: dict[str, str]) -> str:
    """The text for a link that names fields one by one, such as `?topic=order.created&status=any`."""
    terms = [
        f"{field}:{quoted(parameters[field] or NO_GROUP)}"
        for field in _NAMES
        if parameters.get(field) or (field == "group" and field in parameters)
    ]
    return " ".join(terms)


def term(field: str, value: str) -> str:
    """A term as it is typed: the link of everything that has the value."""
    return f"{field}:{quoted(value)}"


def quoted(value: str) -> str:
    """The value as the language reads it back."""
    if value and re.fullmatch(r"[\w./@+#$%=]([\w./@+#$%=-])*", value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def now() -> datetime:
    """The time of a request."""
    return datetime.now(UTC)
