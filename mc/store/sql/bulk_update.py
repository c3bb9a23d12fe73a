"""UPDATE of many rows by one statement with one parameter; see `bulk_insert`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from json import JSONEncoder
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Integer, Table, bindparam, update
from sqlalchemy.engine.interfaces import Dialect

from mc.store.sql.prepared import Prepared, Row

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
        self._texts: dict[str, str] = {}  # by dialect

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Change the rows, and return how many of them were there as the guard says."""
        name = connection.dialect.name
        make = _STATEMENTS.get(name)
        if make is None:
            return self._plain.run_many(connection, rows)
        changed = 0
        for part in _parts(rows):
            if len(part) == 1:
                changed += self._plain.run(connection, part[0])
                continue
            if name not in self._texts:
                self._texts[name] = make(connection.dialect, self._table, self._values, self._keys)
            changed += connection.exec_driver_sql(self._texts[name], (_to_json(part),)).rowcount
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


def _postgresql(
    dialect: Dialect, table: Table, values: Sequence[Column[Any]], keys: Sequence[Column[Any]]
) -> str:
    quote = dialect.identifier_preparer.quote

    def given(place: int, column: Column[Any]) -> str:
        text = f"(entry ->> {place})"
        return f"CAST({text} AS bigint)" if _is_number(column) else text

    changes = ", ".join(
        f"{quote(column.name)} = {given(place, column)}" for place, column in enumerate(values)
    )
    same = " AND ".join(
        f"changed.{quote(column.name)} = {given(place, column)}"
        for place, column in enumerate(keys, len(values))
    )
    rows = "jsonb_array_elements(CAST(%s AS jsonb)) AS entry"
    return f"UPDATE {table.name} AS changed SET {changes} FROM {rows} WHERE {same}"  # noqa: S608 - our own names


def _mysql(dialect: Dialect, table: Table, values: Sequence[Column[Any]], keys: Sequence[Column[Any]]) -> str:
    quote = dialect.identifier_preparer.quote
    columns = [*values, *keys]
    shape = ", ".join(
        f"c{place} {column.type.compile(dialect)} PATH '$[{place}]'" for place, column in enumerate(columns)
    )
    pairs = [f"changed.{quote(column.name)} = given.c{place}" for place, column in enumerate(columns)]
    changes, same = ", ".join(pairs[: len(values)]), " AND ".join(pairs[len(values) :])
    # the order of the join is forced, so that rows are found and locked by their keys alone
    rows = f"JSON_TABLE(%s, '$[*]' COLUMNS ({shape})) AS given"
    join = f"{rows} STRAIGHT_JOIN {table.name} AS changed ON {same}"
    return f"UPDATE {join} SET {changes}"  # noqa: S608 - our own names


def _is_number(column: Column[Any]) -> bool:
    return isinstance(column.type, Integer | BigInteger)


_STATEMENTS: Final = {"postgresql": _postgresql, "mysql": _mysql, "mariadb": _mysql}
_to_json: Final = JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
