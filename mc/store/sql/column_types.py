"""Types of columns that mean the same on every kind of database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String, Text
from sqlalchemy.ext.compiler import compiles

__all__ = ["ExactText", "LongText", "storable_text"]

# MySQL and MariaDB would take "Key", "key" and "key " for equal, and limit TEXT to 64 KiB. Each reads in
# the comments what is meant for it.
_EXACT = "CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */"


class ExactText(String):
    """Text up to a length, of which each letter counts when it is compared."""


class LongText(Text):
    """Text of any length."""


def storable_text(text: str) -> str:
    """Return text that every database keeps: NUL and halves of characters, which some refuse, spelled out."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


@compiles(ExactText, "mysql", "mariadb")  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _render_exact_text(column_type: ExactText, _compiler: Any, **_options: Any) -> str:
    return f"VARCHAR({column_type.length}) {_EXACT}"


@compiles(ExactText, "postgresql")  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _render_ordered_text(column_type: ExactText, _compiler: Any, **_options: Any) -> str:
    # in the order of the other databases, and quicker compared than by the rules of a language
    return f'VARCHAR({column_type.length}) COLLATE "C"'


@compiles(LongText, "mysql", "mariadb")  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _render_long_text(_type: LongText, _compiler: Any, **_options: Any) -> str:
    return f"LONGTEXT {_EXACT}"
