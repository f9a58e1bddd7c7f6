"""Writes rows of what was seen: in one short transaction, and of those only what has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson
from django.db import models, transaction

_BATCH: Final = 100
_MOST_NAMES: Final = 500


class Rows:
    """The rows of one model, which only this process writes as long as it leads. Used by one thread."""

    def __init__(self, model: type[models.Model]) -> None:
        self._model: Any = model
        self._names = [field.attname for field in model._meta.concrete_fields if not field.primary_key]
        self._known: dict[str, bytes] = {}

    def save(self, rows: Sequence[Mapping[str, Any]], at: datetime) -> None:
        """Write rows that are new or changed, and note of the others that they are so as of `at`."""
        changed, same = [], []
        for row in rows:
            digest = hashlib.blake2b(orjson.dumps(row), digest_size=16).digest()
            if self._known.get(row["name"]) == digest:
                same.append(row["name"])
            else:
                changed.append((row, digest))
        with transaction.atomic():
            self._model.objects.bulk_create(
                [self._model(**row, sampled_at=at) for row, _ in changed],
                batch_size=_BATCH,
                update_conflicts=True,
                update_fields=self._names,
                unique_fields=["name"],
            )
            there = 0
            for start in range(0, len(same), _MOST_NAMES):
                some = same[start : start + _MOST_NAMES]
                there += self._model.objects.filter(pk__in=some).update(sampled_at=at)
        self._known.update({row["name"]: digest for row, digest in changed})
        if there < len(same):
            # Somebody deleted rows: write them all the next time.
            self._known.clear()

    def keep_only(self, names: Sequence[str], **among: Any) -> None:
        """Delete the rows of others, as far as they fit what is given."""
        there = set(self._model.objects.filter(**among).values_list("pk", flat=True))
        gone = sorted(there.difference(names))
        for start in range(0, len(gone), _MOST_NAMES):
            some = gone[start : start + _MOST_NAMES]
            self._model.objects.filter(pk__in=some, **among).delete()
            for name in some:
                self._known.pop(name, None)
