"""Many rows in one statement. Django's own ways build an object and several expressions for each value, and an index of
a hundred thousand dead letters has three million of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.db.models import DateTimeField, Model

Row = Sequence[Any]
_MOST: Final = 500


def insert_rows(model: type[Model], names: Sequence[str], rows: Sequence[Row], *, are_new: bool = False) -> None:
    """Insert rows; those that a unique constraint knows already change nothing.

    `names` are attributes of the model, and what the rows hold. The other fields get their defaults. Rows that are said
    to be new are inserted faster; should one be there after all, IntegrityError may be raised.
    """
    if not rows:
        return
    by_name = {field.attname: field for field in model._meta.concrete_fields}
    others = [field for field in model._meta.concrete_fields if field.attname not in names and not field.primary_key]
    # A column that isn't named gets NULL without being sent.
    defaults = {field: default for field in others if (default := field.get_default()) is not None}
    fields = [*(by_name[name] for name in names), *defaults]
    quote = connection.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in fields)
    into = f"INSERT INTO {quote(model._meta.db_table)} ({columns})"
    ends = tuple(defaults.values())
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql" and are_new:
            client: Any = cursor.cursor
            into = f"COPY {quote(model._meta.db_table)} ({columns}) FROM STDIN (FORMAT BINARY)"
            # Past Django's cursor, so its errors would come as psycopg's own.
            with connection.wrap_database_errors, client.copy(into) as copy:
                copy.set_types([str(field.db_type(connection)).partition("(")[0] for field in fields])
                for row in rows:
                    copy.write_row((*row, *ends))
        elif connection.vendor == "postgresql":
            arrays = ", ".join(f"%s::{field.db_type(connection)}[]" for field in fields)
            by_column = [list(column) for column in zip(*rows, strict=True)]
            by_column += [[end] * len(rows) for end in ends]
            cursor.execute(f"{into} SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING", by_column)
        else:
            marks = ", ".join(["%s"] * len(fields))
            times = [index for index, name in enumerate(names) if isinstance(by_name[name], DateTimeField)]
            complete = [(*_with_times(row, times), *ends) for row in rows]
            cursor.executemany(f"{into} VALUES ({marks}) ON CONFLICT DO NOTHING", complete)


def reserve_ids(model: type[Model], count: int) -> list[int]:
    """Ids for rows that the transaction will insert."""
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)",
                [connection.ops.quote_name(table), count],
            )
            return [row[0] for row in cursor.fetchall()]
        # Its transactions begin as the only writer; inserting a row moves the sequence behind its id.
        cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
        last = cursor.fetchone()
    first = (last[0] if last else 0) + 1
    return list(range(first, first + count))


def insert_or_add(model: type[Model], keys: Sequence[str], counts: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert rows of keys and counts, or add the counts to the row that has these keys; none of them is negative."""
    if not rows:
        return
    quote = connection.ops.quote_name
    table, names = quote(model._meta.db_table), [*keys, *counts]
    columns = ", ".join(map(quote, names))
    added = ", ".join(f"{quote(name)} = {table}.{quote(name)} + excluded.{quote(name)}" for name in counts)
    conflict = f"ON CONFLICT ({', '.join(map(quote, keys))}) DO UPDATE SET {added}"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            arrays = ", ".join(f"%s::{model._meta.get_field(name).db_type(connection)}[]" for name in names)
            by_column = [list(column) for column in zip(*rows, strict=True)]
            cursor.execute(f"INSERT INTO {table} ({columns}) SELECT * FROM unnest({arrays}) {conflict}", by_column)
        else:
            marks = ", ".join(["%s"] * len(names))
            cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks}) {conflict}", [list(r) for r in rows])


def add_to_rows(
    model: type[Model], keys: Sequence[str], counts: Sequence[str], times: Mapping[str, str], rows: Sequence[Row]
) -> None:
    """Add to the counts of many rows; none gets below 0. A row is its keys, its counts and its times.

    `times` says what becomes of each: "<" the earlier of both, ">" the later one. A time that is None changes nothing.
    """
    for start in range(0, len(rows), _MOST):
        _add_to_some(model, keys, counts, times, rows[start : start + _MOST])


def _add_to_some(
    model: type[Model], keys: Sequence[str], counts: Sequence[str], times: Mapping[str, str], rows: Sequence[Row]
) -> None:
    quote = connection.ops.quote_name
    changes = []
    for name in map(quote, counts):
        # A count that is wrong must not keep anybody from changing a dead letter.
        changes.append(f"{name} = CASE WHEN t.{name} + v.{name} < 0 THEN 0 ELSE t.{name} + v.{name} END")
    for time, sign in times.items():
        name = quote(time)
        newer = f"t.{name} IS NULL OR v.{name} {sign} t.{name}"
        changes.append(f"{name} = CASE WHEN {newer} THEN COALESCE(v.{name}, t.{name}) ELSE t.{name} END")
    _update(model, keys, [*keys, *counts, *times], changes, rows)


def advance_rows(model: type[Model], keys: Sequence[str], name: str, rows: Sequence[Row]) -> int:
    """Set a number of many rows that is what it is expected to be; returns of how many it was.

    A row is its keys, the number expected, and the new one.
    """
    quote, advanced = connection.ops.quote_name, 0
    for start in range(0, len(rows), _MOST):
        change = f"{quote(name)} = v.{quote('new_' + name)}"
        some = rows[start : start + _MOST]
        advanced += _update(model, [*keys, name], [*keys, name, f"new_{name}"], [change], some)
    return advanced


def _update(
    model: type[Model], keys: Sequence[str], names: Sequence[str], changes: Sequence[str], rows: Sequence[Row]
) -> int:
    """Update from rows with these names; one that begins with `new_` has the type of the field it is for."""
    quote = connection.ops.quote_name
    if connection.vendor == "postgresql":
        types = (model._meta.get_field(name.removeprefix("new_")).db_type(connection) for name in names)
        columns = ", ".join(map(quote, names))
        values = f"unnest({', '.join(f'%s::{each}[]' for each in types)}) AS v({columns})"
        parameters: list[Any] = [list(column) for column in zip(*rows, strict=True)]
    else:
        marks = ", ".join(["%s"] * len(names))
        columns = ", ".join(f"column{number} AS {quote(name)}" for number, name in enumerate(names, 1))
        values = f"(SELECT {columns} FROM (VALUES {', '.join([f'({marks})'] * len(rows))})) AS v"
        parameters = [value for row in rows for value in _adapted(row)]
    same = " AND ".join(f"t.{quote(name)} = v.{quote(name)}" for name in keys)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {quote(model._meta.db_table)} AS t SET {', '.join(changes)} FROM {values} WHERE {same}", parameters
        )
        return int(cursor.rowcount)


def _with_times(row: Row, times: Sequence[int]) -> Row:
    """The row with its times as the database takes them."""
    if not times:
        return row
    adapt, adapted = connection.ops.adapt_datetimefield_value, list(row)
    for index in times:
        adapted[index] = adapt(adapted[index])
    return adapted


def _adapted(row: Row) -> list[Any]:
    adapt = connection.ops.adapt_datetimefield_value
    return [adapt(value) if isinstance(value, datetime) else value for value in row]
