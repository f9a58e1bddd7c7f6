"""`any_of`: `in`, for thousands of values.

`in` makes an expression and a parameter of each, which takes longer than PostgreSQL takes to find the rows. As an array
they are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Field
from django.db.models.fields.related import ForeignObject
from django.db.models.lookups import In


@ForeignObject.register_lookup
@Field.register_lookup
class AnyOf(In):
    """Whether the column has one of the values, a sequence of them; none is NULL."""

    lookup_name = "any_of"

    def get_prep_lookup(self) -> Sequence[Any]:
        """The values as the column's type has them."""
        prepare = self.lhs.output_field.get_prep_value
        return [prepare(value) for value in self.rhs]

    def as_postgresql(self, compiler: Any, connection: Any) -> tuple[str, Sequence[Any]]:
        """One array."""
        if not self.rhs:
            return self.as_sql(compiler, connection)  # which says that nothing can be found
        column, parameters = self.process_lhs(compiler, connection)
        kind = self.lhs.output_field.db_type(connection).partition("(")[0]
        return f"{column} = ANY(%s::{kind}[])", [*parameters, self.rhs]
