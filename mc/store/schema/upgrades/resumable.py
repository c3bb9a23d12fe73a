"""Changes of tables that may be made already.

Some databases cannot roll such changes back, so an upgrade that was interrupted begins anew and finds the
first of them done.
"""

from __future__ import annotations

from sqlalchemy import DDL, Column, Connection, Index, MetaData, inspect
from sqlalchemy.engine.mock import MockConnection
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable, DropIndex

__all__ = ["add_column", "add_index", "create_missing", "drop_index"]


def create_missing(connection: Connection | MockConnection, metadata: MetaData) -> None:
    """Create the tables that are not there, and those of their indexes that are not.

    Args:
        connection: in the transaction of an upgrade; one that only records statements gets all of them.
        metadata: the tables. Their columns and constraints are not compared.
    """
    known: set[str] = set()
    if isinstance(connection, Connection):
        known.update(inspect(connection).get_table_names())
    for table in metadata.sorted_tables:
        indexes: set[str | None] = set()
        if isinstance(connection, Connection) and table.name in known:
            indexes = {found["name"] for found in inspect(connection).get_indexes(table.name)}
        else:
            connection.execute(CreateTable(table))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if index.name not in indexes:
                connection.execute(CreateIndex(index))


def add_column(connection: Connection | MockConnection, table: str, column: Column[object]) -> None:
    """Add a column to a table unless it is there.

    Args:
        connection: in the transaction of an upgrade; one that only records statements gets it always.
        table: name of the table.
        column: nullable or with a server default, because the table may have rows. It belongs to no table.
    """
    if isinstance(connection, Connection):
        if column.name in {found["name"] for found in inspect(connection).get_columns(table)}:
            return
    shape = CreateColumn(column).compile(dialect=connection.dialect)
    change = f"ALTER TABLE {table} ADD COLUMN {shape}".replace("%", "%%")
    connection.execute(DDL(change))  # type: ignore[no-untyped-call, unused-ignore]


def add_index(connection: Connection | MockConnection, index: Index) -> None:
    """Create an index unless it is there; see `add_column`."""
    if index.name not in _index_names(connection, index, set()):
        connection.execute(CreateIndex(index))


def drop_index(connection: Connection | MockConnection, index: Index) -> None:
    """Drop an index if it is there; see `add_column`."""
    if index.name in _index_names(connection, index, {index.name}):
        connection.execute(DropIndex(index))


def _index_names(
    connection: Connection | MockConnection, index: Index, unknown: set[str | None]
) -> set[str | None]:
    """Return the names of the indexes that the table of an index has; `unknown` if it cannot be asked."""
    if not isinstance(connection, Connection) or index.table is None:
        return unknown
    return {found["name"] for found in inspect(connection).get_indexes(index.table.name)}
