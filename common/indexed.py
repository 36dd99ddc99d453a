"""Conditions that name their words literally, so that SQLite too sees that a partial index covers them."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import BooleanField, F, Func


def among(field: str, words: Iterable[str]) -> Func:
    """`field IN ('a', 'b')` word for word, as the condition of a partial index is written; for `filter`.

    With placeholders in place of the words SQLite cannot prove that the rows wanted are those of the index, and reads
    the whole table. PostgreSQL would not need it. The words are ours, never data.
    """
    listed = [word for word in words if word.isidentifier()]
    quoted = ", ".join(f"'{word}'" for word in listed)
    return Func(F(field), template=f"%(expressions)s IN ({quoted})", output_field=BooleanField())
