"""Tables of values as CSV, and as rows of short texts: nested values become columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from mc.cli.printing.output import shown_value, to_json_text

__all__ = ["columns_of", "flatten", "print_csv", "to_cell"]

# What a spreadsheet takes for a formula where a cell begins with it.
_FORMULA: Final = re.compile(r"[=+\-@\t\r]")
_QUOTED: Final = re.compile(r'[",\r\n]|^\s|\s$')
_PLAIN_NAME: Final = re.compile(r"[^.\"]+")


def flatten(value: Any, name: str) -> dict[str, Any]:
    """Return a value by column: `data.result.x` for what is nested; lists and empty mappings stay whole.

    Args:
        value: JSON.
        name: of the column, or of the first part of its name.
    """
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    found: dict[str, Any] = {}
    for key, part in value.items():
        step = key if _PLAIN_NAME.fullmatch(key) else to_json_text(key)  # so that no two columns are the same
        found.update(flatten(part, f"{name}.{step}" if name else step))
    return found


def columns_of(rows: Iterable[Mapping[str, Any]], order: Sequence[str]) -> list[str]:
    """Return the columns of rows; those that begin alike stand together.

    Args:
        rows: values by column.
        order: the beginnings of columns.
    """
    groups: dict[str, dict[str, None]] = {name: {} for name in order}
    for row in rows:
        for column in row:
            groups.setdefault(column.partition(".")[0], {})[column] = None
    return [column for group in groups.values() for column in group]


def to_cell(value: Any) -> str:
    """Return a value as text: a text as it is, nothing for None, all else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else to_json_text(value)


def print_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, raw: bool) -> None:
    """Print rows as CSV (RFC 4180, with lines as the machine ends them): first the names of the columns.

    Args:
        columns: in order.
        rows: values by column; the cell of one that is missing, or None, is empty.
        raw: leave texts as they are that a spreadsheet would take for formulas; else `'` is put before them.
    """
    for row in ({column: column for column in columns}, *rows):
        print(",".join(_to_csv(row.get(column), raw=raw) for column in columns))


def _to_csv(value: Any, *, raw: bool) -> str:
    text = to_cell(value)
    if isinstance(value, str):
        if not raw and _FORMULA.match(text):
            text = f"'{text}"
        text = shown_value(text)
    if _QUOTED.search(text) or (not text and value is not None):
        return '"' + text.replace('"', '""') + '"'
    return text
