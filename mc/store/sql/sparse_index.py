"""Indexes on columns that few rows have, as each kind of database writes them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex

from mc.store.databases.kinds import dialect_of
from mc.store.sql.column_types import LongText

__all__ = ["SparseIndex"]


class SparseIndex(Index):
    """An index on one column that leaves out rows without it, where the database can."""


@compiles(CreateIndex)  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _render_index(create: CreateIndex, compiler: Any, **options: Any) -> str:
    index = create.element
    if not isinstance(index, SparseIndex):
        text: str = compiler.visit_create_index(create, **options)
        return text
    (column,) = index.columns
    is_long = isinstance(column.type, LongText)
    return dialect_of(compiler).sparse_index(str(index.name), column.table.name, column.name, is_long=is_long)
