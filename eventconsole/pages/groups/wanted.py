"""Which groups a list shows: the filter of its field, as conditions for the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from bus.lag.pages import StateFilter
from bus.models import GroupState
from eventconsole.filters import Field, Filter, Language, Pattern, Term
from eventconsole.pages.groups.rows import BEHIND_SECONDS

KINDS: Final = ("ours", "foreign")
IS: Final = ("behind", "waiting", "growing", "without-worker")


def _topics(group: GroupState) -> str:
    return str(group.topics[0]) if group.topics else ""


LANGUAGE: Final[Language[GroupState]] = Language(
    [
        Field("group", "its name, such as notification-*", lambda group: group.name),
        Field("topic", "a topic that it reads", _topics),
        Field("kind", "ours or foreign", lambda group: "ours" if group.is_ours else "foreign", values=lambda: KINDS),
        Field("is", "behind, waiting, growing or without-worker", lambda group: None, values=lambda: IS),
        Field("state", "as Kafka says: stable, empty", lambda group: group.state),
    ],
    text=lambda group: group.name,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFilter(StateFilter):
    """Groups that fit all terms of a parsed filter."""

    parsed: Filter[GroupState]

    def groups(self) -> QuerySet[GroupState]:
        """The groups, in no order, without what is long."""
        found = StateFilter.groups(self)  # a class with slots is another one than super() knows
        fields: dict[str, Q] = {}
        for term in self.parsed.terms:
            if term.field == "topic":
                found = found.alias(topics_text=Cast("topics", TextField()))
            condition = _condition(term)
            if term.is_negated or not term.field:
                found = found.exclude(condition) if term.is_negated else found.filter(condition)
            else:
                # Terms of one field are alternatives.
                fields[term.field] = fields.get(term.field, Q()) | condition
        for condition in fields.values():
            found = found.filter(condition)
        return found


def _condition(term: Term) -> Q:
    if not term.field:
        return Q(name__icontains=term.patterns[0].pieces[0])
    found = Q()
    for pattern in term.patterns:
        match term.field:
            case "group":
                found |= _like("name", pattern)
            case "state":
                found |= _like("state", pattern)
            case "topic":
                found |= _in_topics(pattern)
            case "kind":
                found |= _any(pattern, {"ours": Q(is_ours=True), "foreign": Q(is_ours=False)})
            case _:
                found |= _any(pattern, _IS)
    return found


_IS: Final[dict[str, Q]] = {
    "behind": Q(time_lag_seconds__gte=BEHIND_SECONDS),
    "waiting": ~Q(reason=""),
    "growing": Q(trend=GroupState.Trend.GROWING),
    "without-worker": Q(is_ours=True, workers=0),
}


def _any(pattern: Pattern, known: dict[str, Q]) -> Q:
    found = Q(pk__in=[])
    for name, condition in known.items():
        if pattern.matches(name):
            found |= condition
    return found


def _like(column: str, pattern: Pattern) -> Q:
    first, *rest = pattern.pieces
    if not rest:
        return Q(**{column: first})
    *middle, last = rest
    found: dict[str, Any] = {}
    if first:
        found[f"{column}__startswith"] = first
    if last:
        found[f"{column}__endswith"] = last
    condition = Q(**found)
    for piece in middle:
        condition &= Q(**{f"{column}__contains": piece})
    return condition


def _in_topics(pattern: Pattern) -> Q:
    """Names stand in the column as JSON: each in double quotes, which no name has in it."""
    first, *rest = pattern.pieces
    if not rest:
        return Q(topics_text__contains=f'"{first}"')
    condition = Q(topics_text__contains=f'"{first}')
    for piece in rest[:-1]:
        condition &= Q(topics_text__contains=piece)
    return condition & Q(topics_text__contains=f'{rest[-1]}"')
