"""What a topic's events say, as a table that a person reads: name, kind, meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bus.catalog import Topic
from bus.schemas.base import example

#: Of fields within fields so many levels are shown.
MOST_LEVELS = 3


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A field of the data; `level` says how deep it stands."""

    name: str
    kind: str
    meaning: str
    is_required: bool
    level: int


def example_of(topic: Topic) -> str:
    """The model's example, to be edited; an empty object when it gives none."""
    found = example(topic.model)
    return json.dumps({} if found is None else found, indent=2, ensure_ascii=False)


def schema_of(topic: Topic) -> dict[str, Any] | None:
    """The JSON schema of the topic's model."""
    return topic.model.model_json_schema(by_alias=True) if topic.model else None


def rows_of(topic: Topic) -> list[FieldRow]:
    """The fields of the topic's model, those within others after them."""
    schema = schema_of(topic)
    if schema is None:
        return []
    definitions = schema.get("$defs", {})
    # A model that holds itself is a reference to itself.
    root = definitions.get(schema["$ref"].rpartition("/")[2], {}) if "$ref" in schema else schema
    return _rows(root, definitions, 0)


def _rows(schema: Mapping[str, Any], definitions: Mapping[str, Any], level: int) -> list[FieldRow]:
    rows: list[FieldRow] = []
    required = schema.get("required", [])
    for name, given in schema.get("properties", {}).items():
        kind, inner = _kind(given, definitions)
        rows.append(FieldRow(name, kind, given.get("description", ""), name in required, level))
        if inner is not None and level + 1 < MOST_LEVELS:
            rows += _rows(inner, definitions, level + 1)
    return rows


def _kind(given: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    """A field's kind in words, and the schema of what is in it."""
    choices = [each for each in given.get("anyOf", [given]) if each.get("type") != "null"]
    words: list[str] = []
    inner: Mapping[str, Any] | None = None
    for each in choices:
        if "$ref" in each:
            inner = definitions.get(each["$ref"].rpartition("/")[2])
            words.append("object")
        elif each.get("type") == "array":
            of, within = _kind(each.get("items", {}), definitions)
            inner = within or inner
            words.append(f"list of {of}s" if of != "anything" else "list")
        elif "enum" in each:
            words.append(" or ".join(json.dumps(value, ensure_ascii=False) for value in each["enum"]))
        else:
            kind = each.get("type", "anything")
            words.append({"string": "text", "integer": "whole number"}.get(kind, kind))
    return " or ".join(dict.fromkeys(words)) or "anything", inner
