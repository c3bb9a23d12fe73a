"""UPDATE of many rows, by one statement with one parameter where the driver is slow at many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, Table, bindparam, update

from mc.store.databases.base import Dialect
from mc.store.databases.kinds import dialect_of
from mc.store.sql.prepared import Prepared, Row
from mc.store.sql.rows_text import rows_text

__all__ = ["BulkUpdate"]

_LONGEST: Final = 1_000_000  # characters; quotation marks may make four bytes of one


class BulkUpdate:
    """Changes rows of a table that are named by their primary key.

    Args:
        table: whose columns hold whole numbers, or text that every database keeps.
        columns: what is written. A row holds the new values in this order, then its key, then what the guard
            is to be.
        guard: a column; a row in which it is something else is left as it is.
    """

    def __init__(self, table: Table, columns: Sequence[str], guard: str) -> None:
        self._table = table
        self._values: Final = [table.c[name] for name in columns]
        self._keys: Final = [*table.primary_key.columns, table.c[guard]]
        names = [f"new_{name}" for name in columns] + [f"known_{column.name}" for column in self._keys]
        statement = update(table).where(
            *(column == bindparam(f"known_{column.name}") for column in self._keys)
        )
        self._plain: Final = Prepared(
            statement.values({name: bindparam(f"new_{name}") for name in columns}), names
        )
        self._statements: dict[Dialect, str | None] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Change the rows, and return how many of them were there as the guard says."""
        dialect = dialect_of(connection)
        if dialect not in self._statements:
            self._statements[dialect] = dialect.bulk_update(connection, self._table, self._values, self._keys)
        statement = self._statements[dialect]
        if statement is None:
            return self._plain.run_many(connection, rows)
        changed = 0
        for part in _parts(rows):
            if len(part) == 1:
                changed += self._plain.run(connection, part[0])
                continue
            changed += connection.exec_driver_sql(statement, (rows_text(part),)).rowcount
        return changed


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut rows where their statement would get larger than servers take."""
    begin = size = 0
    for place, row in enumerate(rows):
        length = sum(len(value) for value in row if isinstance(value, str))
        if place > begin and size + length > _LONGEST:
            yield rows[begin:place]
            begin, size = place, 0
        size += length
    if begin < len(rows):
        yield rows[begin:]
