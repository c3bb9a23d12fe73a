"""Types of columns that mean the same on every kind of database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String, Text
from sqlalchemy.ext.compiler import compiles

__all__ = ["ExactText", "LongText"]

# MySQL and MariaDB would take "Key", "key" and "key " for equal, and limit TEXT to 64 KiB.
_EXACT = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"


class ExactText(String):
    """Text up to a length, of which each letter counts when it is compared."""


class LongText(Text):
    """Text of any length."""


@compiles(ExactText, "mysql", "mariadb")  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _render_exact_text(column_type: ExactText, _compiler: Any, **_options: Any) -> str:
    return f"VARCHAR({column_type.length}) {_EXACT}"


@compiles(LongText, "mysql", "mariadb")  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _render_long_text(_type: LongText, _compiler: Any, **_options: Any) -> str:
    return f"LONGTEXT {_EXACT}"
