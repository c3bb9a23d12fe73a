"""Text of any length, on every kind of database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text
from sqlalchemy.ext.compiler import compiles

__all__ = ["LongText"]


class LongText(Text):
    """TEXT, which MySQL and MariaDB limit to 64 KiB and therefore call LONGTEXT."""


@compiles(LongText, "mysql", "mariadb")  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _render_long_text(_type: LongText, _compiler: Any, **_options: Any) -> str:
    return "LONGTEXT"
