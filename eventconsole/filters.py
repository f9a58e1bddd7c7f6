"""The filter language of the pages: `topic:order.* status:retrying,failed user:u-7 "timed out" -source:web`.

A filter is a list of terms that all must hold. A term is `field:value`, or a word that is looked for in the text of a
row. Values take `*` for anything and a comma between alternatives; what is in double quotes is taken as it is (`\\"`
and `\\\\` in there are a quote and a backslash). A minus in front turns a term around. Terms of one field are
alternatives: `topic:a topic:b` means either, since a row has one topic only.

Nothing in it runs: there are no expressions and no regular expressions, and matching takes time in proportion to the
text. Where the language of a page is made (`Language`), it says which fields there are and what they may be.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

Row = TypeVar("Row")

MAX_LENGTH = 500
MAX_TERMS = 20
MAX_ALTERNATIVES = 20
_SHOWN = 12


class FilterProblem(ValueError):  # noqa: N818 -- shown to the person who typed it, as a problem
    """What is wrong with a filter. `position` counts characters from 0; `allowed` are values that would do."""

    def __init__(self, position: int, problem: str, allowed: Sequence[str] = ()) -> None:
        self.position = position
        self.problem = problem
        self.allowed = tuple(allowed)
        super().__init__(f"character {position + 1}: {problem}")


class Pattern(NamedTuple):
    """A value that is looked for. `pieces` are what stands between the `*`; one piece is an exact value."""

    pieces: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Whether there is no `*` in it."""
        return len(self.pieces) == 1

    def matches(self, value: str) -> bool:
        """Whether the whole value is like this."""
        first, *rest = self.pieces
        if not rest:
            return value == first
        *middle, last = rest
        if len(value) < len(first) + len(last) or not (value.startswith(first) and value.endswith(last)):
            return False
        at, end = len(first), len(value) - len(last)
        for piece in middle:
            found = value.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True

    def __str__(self) -> str:
        return "*".join(_quoted(piece) if piece or self.is_exact else "" for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. `field` is empty for text; `position` is where the term begins."""

    field: str
    patterns: tuple[Pattern, ...]
    is_negated: bool
    position: int = 0

    def __str__(self) -> str:
        sign = "-" if self.is_negated else ""
        if not self.field:
            return sign + _quoted(self.patterns[0].pieces[0])
        return f"{sign}{self.field}:{','.join(map(str, self.patterns))}"


@dataclass(frozen=True, slots=True)
class Field(Generic[Row]):
    """A field of a page's language.

    `get` takes its value out of a row; None is like no value. `values`, when given, are all that it can be: anything
    else is refused. `suggest` are values to complete when it can be something else as well.
    """

    name: str
    help: str
    get: Callable[[Row], str | None]
    values: Callable[[], Iterable[str]] | None = None
    suggest: Callable[[], Iterable[str]] | None = None


class Suggestion(NamedTuple):
    """Replace the characters from `start` to `end` by `text`."""

    text: str
    start: int
    end: int
    help: str


class Filter(Generic[Row]):
    """A parsed filter. `str()` of it is a text that means the same; no terms match everything."""

    def __init__(self, terms: Sequence[Term], language: Language[Row]) -> None:
        self.terms = tuple(terms)
        self._groups = [
            (
                language.fields[name].get,
                _Values(terms, name, is_negated=False),
                _Values(terms, name, is_negated=True),
            )
            for name in dict.fromkeys(term.field for term in terms if term.field)
        ]
        self._words = [(term.patterns[0].pieces[0].casefold(), term.is_negated) for term in terms if not term.field]
        self._text = language.text

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    def __bool__(self) -> bool:
        return bool(self.terms)

    def matches(self, row: Row) -> bool:
        """Whether the row is wanted."""
        for get, wanted, unwanted in self._groups:
            value = get(row) or ""
            if (wanted and not wanted.has(value)) or (unwanted and unwanted.has(value)):
                return False
        if self._words:
            text = self._text(row).casefold()
            return all((word in text) is not is_negated for word, is_negated in self._words)
        return True


class _Values:
    """What a field may be, or may not be. Exact values, by far the most, are found at once."""

    def __init__(self, terms: Sequence[Term], field: str, *, is_negated: bool) -> None:
        patterns = [
            pattern
            for term in terms
            if term.field == field and term.is_negated is is_negated
            for pattern in term.patterns
        ]
        self._exact = frozenset(pattern.pieces[0] for pattern in patterns if pattern.is_exact)
        self._others = tuple(pattern for pattern in patterns if not pattern.is_exact)
        self._is_given = bool(patterns)

    def __bool__(self) -> bool:
        return self._is_given

    def has(self, value: str) -> bool:
        if value in self._exact:
            return True
        return bool(self._others) and any(pattern.matches(value) for pattern in self._others)


class Language(Generic[Row]):
    """The fields of a page, and the text of a row that words are looked for in."""

    def __init__(self, fields: Iterable[Field[Row]], text: Callable[[Row], str]) -> None:
        self.fields = {field.name: field for field in fields}
        self.text = text

    def parse(self, text: str) -> Filter[Row]:
        """Raises FilterProblem that says where what is wrong, and what is allowed."""
        if len(text) > MAX_LENGTH:
            raise FilterProblem(MAX_LENGTH, f"a filter has at most {MAX_LENGTH} characters, this one has {len(text)}")
        terms: list[Term] = []
        for token in _tokens(text):
            if len(terms) == MAX_TERMS:
                raise FilterProblem(token.start, f"a filter has at most {MAX_TERMS} terms")
            terms.append(self._term(token))
        return Filter(terms, self)

    def complete(
        self, text: str, cursor: int, values: Callable[[str, str], Iterable[str]] | None = None, limit: int = 12
    ) -> list[Suggestion]:
        """What could stand where the cursor is: fields first, after the colon values.

        `values(field, beginning)` knows values that the fields don't. Never raises: a filter is often wrong while it
        is typed.
        """
        cursor = max(0, min(cursor, len(text)))
        token = next((each for each in _tokens(text, is_strict=False) if each.start <= cursor <= each.end), None)
        if token is None or token.colon is None or cursor <= token.colon:
            start = cursor if token is None else token.start + token.is_negated
            begun = text[start:cursor].lower()
            end = cursor if token is None else token.end if token.colon is None else token.colon + 1
            return [
                Suggestion(f"{field.name}:", start, end, field.help)
                for field in self.fields.values()
                if field.name.startswith(begun)
            ][:limit]
        field = self.fields.get(token.name)
        if field is None:
            return []
        start = max(token.colon + 1, text.rfind(",", token.colon, cursor) + 1)
        begun = text[start:cursor].strip('"')
        known = _known(field) or (values(field.name, begun) if values else ())
        found = (value for value in dict.fromkeys(known) if begun.lower() in value.lower())
        ranked = sorted(found, key=lambda value: not value.lower().startswith(begun.lower()))
        return [Suggestion(_quoted(value), start, token.end, "") for value in ranked[:limit]]

    def _term(self, token: _Token) -> Term:
        if token.colon is None:
            return Term("", (Pattern((token.text(),)),), token.is_negated, token.start)
        name = token.name
        field = self.fields.get(name)
        if field is None:
            raise FilterProblem(
                token.start,
                f"there is no field {name!r:.60}; {_allowed(name, self.fields)} (put text with a colon in quotes)",
                list(self.fields),
            )
        alternatives = list(token.alternatives())
        if len(alternatives) > MAX_ALTERNATIVES:
            raise FilterProblem(token.colon, f"a term has at most {MAX_ALTERNATIVES} alternatives")
        patterns = tuple(self._pattern(field, position, pieces) for position, pieces in alternatives)
        return Term(name, patterns, token.is_negated, token.start)

    def _pattern(self, field: Field[Row], position: int, pieces: tuple[str, ...]) -> Pattern:
        pattern = Pattern(pieces)
        if pattern == Pattern(("",)):
            raise FilterProblem(position, f"{field.name}: needs a value after the colon", _known(field)[:_SHOWN])
        if field.values is None:
            return pattern
        known = list(field.values())
        if any(pattern.matches(value) for value in known):
            return pattern
        lower = Pattern(tuple(piece.lower() for piece in pieces))
        if any(lower.matches(value) for value in known):
            return lower
        raise FilterProblem(position, f"no {field.name} is {pattern!s:.60}; {_allowed(str(pattern), known)}", known)


def _known(field: Field[Any]) -> list[str]:
    source = field.values or field.suggest
    return list(source()) if source else []


def _allowed(given: str, known: Iterable[str]) -> str:
    """Names what would do: what is near if something is, and else the first few."""
    names = list(known)
    if near := difflib.get_close_matches(given.lower()[:60], names, 3, 0.6):
        return f"did you mean {' or '.join(near)}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"allowed are {', '.join(names[:_SHOWN])}{more}" if names else "there are none yet"


# -- reading ------------------------------------------------------------------------------------------------------


class _Character(NamedTuple):
    """One character; quoted ones mean nothing but themselves."""

    text: str
    is_quoted: bool
    position: int


@dataclass(slots=True)
class _Token:
    start: int
    end: int
    is_negated: bool
    characters: list[_Character]
    colon: int | None
    name: str

    def text(self) -> str:
        return "".join(each.text for each in self.characters)

    def alternatives(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Position and pieces of each value after the colon."""
        assert self.colon is not None
        position, pieces = self.colon + 1, [""]
        for text, is_quoted, at in self.characters:
            if is_quoted or text not in ",*":
                pieces[-1] += text
            elif text == "*":
                # Two `*` in a row are one.
                if len(pieces) == 1 or pieces[-1]:
                    pieces.append("")
            else:
                yield position, tuple(pieces)
                position, pieces = at + 1, [""]
        yield position, tuple(pieces)


def _tokens(text: str, *, is_strict: bool = True) -> Iterator[_Token]:
    """Terms as they stand there. Raises FilterProblem unless it isn't strict."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token = _token(text, at, is_strict)
        if is_strict and not token.characters and token.colon is None:
            raise FilterProblem(at, "empty text; write what to look for, or leave it out")
        yield token
        at = token.end


def _token(text: str, start: int, is_strict: bool) -> _Token:
    is_negated = text[start] == "-" and start + 1 < len(text) and not text[start + 1].isspace()
    at = start + is_negated
    characters: list[_Character] = []
    colon, name = None, ""
    while at < len(text) and not text[at].isspace():
        if text[at] == '"':
            quoted, at = _quote(text, at, is_strict)
            characters += quoted
        elif text[at] == ":" and colon is None and not any(each.is_quoted for each in characters):
            colon, name = at, "".join(each.text for each in characters).lower()
            characters = []
            at += 1
        else:
            characters.append(_Character(text[at], False, at))
            at += 1
    return _Token(start, at, is_negated, characters, colon, name)


def _quote(text: str, start: int, is_strict: bool) -> tuple[list[_Character], int]:
    """The characters of a quoted text, and where it ends."""
    characters: list[_Character] = []
    at = start + 1
    while at < len(text):
        if text[at] == '"':
            return characters, at + 1
        if text[at] == "\\" and text[at + 1 : at + 2] in ('"', "\\"):
            at += 1
        characters.append(_Character(text[at], True, at))
        at += 1
    if is_strict:
        raise FilterProblem(start, 'the quote that begins here has no end; add a " (inside a quote it is \\")')
    return characters, at


def _quoted(value: str) -> str:
    """The value as it has to be written to mean itself."""
    if value and not any(each.isspace() or each in '":,*\\' for each in value) and not value.startswith("-"):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
