"""Changes of tables that may be made already.

Some databases cannot roll such changes back, so a migration that was interrupted begins anew and finds the
first of them done.
"""

from __future__ import annotations

from sqlalchemy import DDL, Column, Connection, MetaData, inspect
from sqlalchemy.engine.mock import MockConnection
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

__all__ = ["add_column", "create_missing"]


def create_missing(connection: Connection | MockConnection, metadata: MetaData) -> None:
    """Create the tables that are not there, and those of their indexes that are not.

    Args:
        connection: in the transaction of a migration; one that only records statements gets all of them.
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
        connection: in the transaction of a migration; one that only records statements gets it always.
        table: name of the table.
        column: nullable or with a server default, because the table may have rows. It belongs to no table.
    """
    if isinstance(connection, Connection):
        if column.name in {found["name"] for found in inspect(connection).get_columns(table)}:
            return
    shape = CreateColumn(column).compile(dialect=connection.dialect)
    change = f"ALTER TABLE {table} ADD COLUMN {shape}".replace("%", "%%")
    connection.execute(DDL(change))  # type: ignore[no-untyped-call, unused-ignore]
