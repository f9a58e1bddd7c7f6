"""What every list shares: sorting and paging by the address, and export."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

PAGE_ROWS = 50
#: The most rows of one export; who wants more, asks the API page by page.
MAX_EXPORT = 100_000
# Spreadsheets run cells that begin so as formulas, and the text is somebody else's.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Sort:
    """By what a list is sorted; `-` before a name in the address means descending."""

    name: str
    descending: bool

    @property
    def value(self) -> str:
        """As it stands in the address."""
        return f"-{self.name}" if self.descending else self.name


def sort_of(request: HttpRequest, allowed: Sequence[str], default: str) -> Sort:
    """The sort that the address asks for; the default for one that isn't allowed."""
    wanted = request.GET.get("sort", default)
    name = wanted.removeprefix("-")
    if name not in allowed:
        wanted, name = default, default.removeprefix("-")
    return Sort(name, wanted.startswith("-"))


@dataclass(frozen=True, slots=True)
class Column:
    """A column's head: its words, the name it is sorted by, and the sort that a click on it asks for."""

    label: str
    name: str = ""
    is_number: bool = False
    wanted: str = ""
    aria_sort: str = ""


def columns(sort: Sort | None, *heads: tuple[str, str] | tuple[str, str, str]) -> list[Column]:
    """Heads of a table from (label, sort name or "") or (label, sort name, "number"). Numbers sort largest first."""
    found = []
    for label, name, *rest in heads:
        is_number = "number" in rest
        if not name or sort is None:
            found.append(Column(label, "", is_number))
        elif name == sort.name:
            wanted = name if sort.descending else f"-{name}"
            found.append(Column(label, name, is_number, wanted, "descending" if sort.descending else "ascending"))
        else:
            found.append(Column(label, name, is_number, f"-{name}" if is_number else name))
    return found


def wants_export(request: HttpRequest) -> str | None:
    """`csv` or `json` when the address asks for an export."""
    kind = request.GET.get("export")
    return kind if kind in ("csv", "json") else None


def export(kind: str, name: str, rows: Iterable[Mapping[str, Any]], limit: int = MAX_EXPORT) -> HttpResponse:
    """The rows as a file, streamed: CSV with a head from the first row's names, or a JSON array."""
    bounded = _first(rows, limit)
    made_at = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    body = _csv(bounded) if kind == "csv" else _json(bounded)
    kinds = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
    response = StreamingHttpResponse(body, content_type=kinds[kind])
    response["Content-Disposition"] = f'attachment; filename="{name}-{made_at}.{kind}"'
    return response  # type: ignore[return-value]


def _first(rows: Iterable[Mapping[str, Any]], limit: int) -> Iterator[Mapping[str, Any]]:
    for index, row in enumerate(rows):
        if index >= limit:
            return
        yield row


def _csv(rows: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for index, row in enumerate(rows):
        if index == 0:
            writer.writerow(row.keys())
        writer.writerow([_cell(value) for value in row.values()])
        if index % 200 == 199:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping | list | tuple):
        value = orjson.dumps(value, default=str).decode()
    if isinstance(value, str) and value.startswith(_FORMULAS):
        return f"'{value}"
    return value


def _json(rows: Iterator[Mapping[str, Any]]) -> Iterator[bytes]:
    yield b"["
    for index, row in enumerate(rows):
        yield (b",\n" if index else b"\n") + orjson.dumps(dict(row), default=str)
    yield b"\n]\n"
