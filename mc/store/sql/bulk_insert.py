"""INSERT of many rows in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from json import JSONEncoder
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Integer, Table, insert

from mc.store.sql.prepared import Prepared, Row

__all__ = ["BulkInsert"]


class BulkInsert:
    """Adds rows to a table in the order in which they are given.

    To PostgreSQL they go as one parameter, because psycopg needs longer to send each of many rows than the
    server needs to write it. The other drivers are quick at it.

    Args:
        table: its columns hold whole numbers, or text that every database keeps.
        left_out: columns that the database fills in.
    """

    def __init__(self, table: Table, left_out: Sequence[str] = ()) -> None:
        columns = [column for column in table.c if column.name not in left_out]
        self._plain: Final = Prepared(insert(table).inline(), [column.name for column in columns])
        self._postgresql: Final = _postgresql_statement(table.name, columns)

    def run(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Add the rows."""
        if connection.dialect.name != "postgresql":
            self._plain.run_many(connection, rows)
        elif rows:
            connection.exec_driver_sql(self._postgresql, (_to_json(rows),))


def _postgresql_statement(table: str, columns: Sequence[Column[Any]]) -> str:
    names = ", ".join(column.name for column in columns)
    values = ", ".join(_entry(place, column) for place, column in enumerate(columns))
    rows = "jsonb_array_elements(CAST(%s AS jsonb)) WITH ORDINALITY AS given(entry, place)"
    return f"INSERT INTO {table} ({names}) SELECT {values} FROM {rows} ORDER BY place"  # noqa: S608 - our own names


def _entry(place: int, column: Column[Any]) -> str:
    text = f"entry ->> {place}"
    return f"CAST({text} AS bigint)" if isinstance(column.type, Integer | BigInteger) else text


_to_json: Final = JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
