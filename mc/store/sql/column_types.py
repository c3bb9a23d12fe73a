"""Types of columns that mean the same on every kind of database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, String, Text
from sqlalchemy.ext.compiler import compiles

from mc.store.databases.kinds import dialect_of

__all__ = ["ExactText", "LongText", "RowId", "storable_text"]


class ExactText(String):
    """Text up to a length, of which each letter counts when it is compared."""


class LongText(Text):
    """Text of any length."""


class RowId(BigInteger):
    """Number of a row, counted up by the database."""


def storable_text(text: str) -> str:
    """Return text that every database keeps: NUL and halves of characters, which some refuse, spelled out."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


@compiles(ExactText)  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _render_exact_text(column_type: ExactText, compiler: Any, **_options: Any) -> str:
    assert column_type.length is not None
    return dialect_of(compiler).exact_text(column_type.length)


@compiles(LongText)  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _render_long_text(_type: LongText, compiler: Any, **_options: Any) -> str:
    return dialect_of(compiler).long_text()


@compiles(RowId)  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _render_row_id(_type: RowId, compiler: Any, **_options: Any) -> str:
    return dialect_of(compiler).row_id()
