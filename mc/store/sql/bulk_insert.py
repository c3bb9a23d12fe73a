"""INSERT of many rows, in one round trip where the driver is slow at many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Table, insert

from mc.store.databases.base import Dialect
from mc.store.databases.kinds import dialect_of
from mc.store.sql.prepared import Prepared, Row
from mc.store.sql.rows_text import rows_text

__all__ = ["BulkInsert"]


class BulkInsert:
    """Adds rows to a table in the order in which they are given.

    Args:
        table: its columns hold whole numbers, or text that every database keeps.
        left_out: columns that the database fills in.
    """

    def __init__(self, table: Table, left_out: Sequence[str] = ()) -> None:
        self._table = table
        self._columns = [column for column in table.c if column.name not in left_out]
        self._plain: Final = Prepared(insert(table).inline(), [column.name for column in self._columns])
        self._statements: dict[Dialect, str | None] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Add the rows."""
        dialect = dialect_of(connection)
        if dialect not in self._statements:
            self._statements[dialect] = dialect.bulk_insert(connection, self._table, self._columns)
        statement = self._statements[dialect]
        if statement is None:
            self._plain.run_many(connection, rows)
        elif rows:
            connection.exec_driver_sql(statement, (rows_text(rows),))
