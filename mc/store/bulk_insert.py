"""INSERT of many rows by one statement with one parameter.

The drivers of the servers take longer to send a row for each than the server needs to write them.
"""

from __future__ import annotations

from collections.abc import Sequence
from json import JSONEncoder
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Integer, Table, insert

from mc.store.prepared import Prepared, Row

__all__ = ["BulkInsert"]


class BulkInsert:
    """Adds rows to a table in the order in which they are given.

    Args:
        table: whose columns hold whole numbers, or text that every database keeps.
        left_out: columns that the database fills in.
    """

    def __init__(self, table: Table, left_out: Sequence[str] = ()) -> None:
        self._table = table.name
        self._columns: Final = [column for column in table.c if column.name not in left_out]
        self._plain: Final = Prepared(insert(table).inline(), [column.name for column in self._columns])

    def run(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Add the rows."""
        make = _STATEMENTS.get(connection.dialect.name)
        if make is None:
            self._plain.run_many(connection, rows)
        elif rows:
            connection.exec_driver_sql(make(self._table, self._columns), (_to_json(rows),))


def _postgresql(table: str, columns: Sequence[Column[Any]]) -> str:
    names = ", ".join(column.name for column in columns)
    values = ", ".join(_postgresql_value(place, column) for place, column in enumerate(columns))
    rows = "jsonb_array_elements(CAST(%s AS jsonb)) WITH ORDINALITY AS given(entry, place)"
    return f"INSERT INTO {table} ({names}) SELECT {values} FROM {rows} ORDER BY place"


def _postgresql_value(place: int, column: Column[Any]) -> str:
    text = f"entry ->> {place}"
    return f"CAST({text} AS bigint)" if _is_number(column) else text


def _mysql(table: str, columns: Sequence[Column[Any]]) -> str:
    names = ", ".join(column.name for column in columns)
    shape = ", ".join(
        f"{column.name} {_mysql_type(column)} PATH '$[{place}]'" for place, column in enumerate(columns)
    )
    rows = f"JSON_TABLE(%s, '$[*]' COLUMNS (place FOR ORDINALITY, {shape})) AS given"
    return f"INSERT INTO {table} ({names}) SELECT {names} FROM {rows} ORDER BY place"


def _mysql_type(column: Column[Any]) -> str:
    return "BIGINT" if _is_number(column) else "LONGTEXT"


def _is_number(column: Column[Any]) -> bool:
    return isinstance(column.type, Integer | BigInteger)


_STATEMENTS: Final = {"postgresql": _postgresql, "mysql": _mysql, "mariadb": _mysql}
_to_json: Final = JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
