"""Statements that are compiled once and take rows, and batches of them for one round trip.

SQLAlchemy would work out the parameters of each row anew, which takes longer than the database needs
to write the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from json import JSONEncoder
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Executable, Table, bindparam, insert, update
from sqlalchemy.engine.interfaces import Dialect as EngineDialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from mc.store.databases.base import BatchStatement, Dialect

__all__ = ["Batch", "BulkInsert", "BulkUpdate", "Count", "Prepared", "Row"]

Row = Sequence[Any]

_LONGEST: Final = 1_000_000  # characters of one statement; quotation marks may make four bytes of one


class _Compiled(NamedTuple):
    text: str
    arrange: Callable[[Row], Any]  # from the order of the names to what the driver wants


@dataclass(slots=True)
class Count:
    """How many rows statements of a batch changed, once it was sent."""

    rows: int = 0


class Batch:
    """Statements that are sent together and executed in order: in one round trip where the driver can.

    Args:
        connection: in a transaction. Where a statement fails, those behind it are not executed.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection: Final = connection
        self._statements: list[BatchStatement] = []
        self._counts: list[Count] = []

    def put(self, text: str, parameters: Sequence[Any], count: Count | None = None) -> Count:
        """Add a statement for the driver, to be executed for each of its parameters.

        Args:
            text: as the driver takes it.
            parameters: of each execution.
            count: to which the rows are added that it changes.
        """
        count = count or Count()
        self._statements.append(BatchStatement(text, parameters))
        self._counts.append(count)
        return count

    def send(self) -> None:
        """Execute the statements, and count the rows that each of them changed."""
        statements, counts = self._statements, self._counts
        if not statements:
            return
        self._statements, self._counts = [], []
        dialect: Dialect = self.connection.dialect.mc_dialect  # type: ignore[attr-defined]
        dialect.send_batch(self.connection, statements)
        for statement, count in zip(statements, counts, strict=True):
            count.rows += statement.changed


class Prepared:
    """An INSERT, UPDATE or DELETE whose parameters are given as rows.

    Args:
        statement: the statement.
        names: of its parameters, in the order in which rows hold them.
    """

    def __init__(self, statement: Executable, names: Sequence[str]) -> None:
        self._statement = statement
        self._names: Final = tuple(names)
        self._compiled: dict[type[EngineDialect], _Compiled] = {}

    def run(self, connection: Connection, row: Row) -> int:
        """Execute it once, and return how many rows it changed."""
        text, arrange = self._for(connection)
        return connection.exec_driver_sql(text, arrange(row)).rowcount

    def run_many(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Execute it for each row, and return how many rows it changed in all."""
        batch = Batch(connection)
        count = self.put(batch, rows)
        batch.send()
        return count.rows

    def put(self, batch: Batch, rows: Sequence[Row], count: Count | None = None) -> Count:
        """Add it to a batch, to be executed for each row."""
        if not rows:
            return count or Count()
        text, arrange = self._for(batch.connection)
        return batch.put(text, [*map(arrange, rows)], count)

    def _for(self, connection: Connection) -> _Compiled:
        return self._compiled.get(type(connection.dialect)) or self._compile(connection.dialect)

    def _compile(self, dialect: EngineDialect) -> _Compiled:
        statement = self._statement
        assert isinstance(statement, ClauseElement)
        compiled = statement.compile(dialect=dialect, column_keys=list(self._names))
        assert isinstance(compiled, SQLCompiler)
        defaults = compiled.params
        # constants of the statement come after what a row holds
        constants = {name: value for name, value in defaults.items() if name not in self._names}
        extra, names = tuple(constants.values()), (*self._names, *constants)

        def to_tuple(row: Row) -> Any:
            return take((*row, *extra))

        def to_dict(row: Row) -> Any:
            return dict(zip(names, (*row, *extra), strict=True))

        if compiled.positional:
            order = [names.index(name) for name in compiled.positiontup or ()]
            take = itemgetter(*order) if len(order) > 1 else lambda row: (row[order[0]],)
            arrange = take if not extra else to_tuple
            if order == list(range(len(names))) and not extra:
                arrange = tuple
        else:
            arrange = to_dict
        found = self._compiled[type(dialect)] = _Compiled(compiled.string, arrange)
        return found


class BulkInsert:
    """Adds rows to a table in order, in one round trip where the driver is slow at many.

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
        batch = Batch(connection)
        self.put(batch, rows)
        batch.send()

    def put(self, batch: Batch, rows: Sequence[Row]) -> None:
        """Let a batch add the rows."""
        if not rows:
            return
        statement = self._for(batch.connection) if len(rows) > 1 else None
        if statement is None:
            self._plain.put(batch, rows)
        else:
            batch.put(statement, [(_rows_text(rows),)])

    def _for(self, connection: Connection) -> str | None:
        dialect: Dialect = connection.dialect.mc_dialect  # type: ignore[attr-defined]
        if dialect not in self._statements:
            self._statements[dialect] = dialect.bulk_insert(connection, self._table, self._columns)
        return self._statements[dialect]


class BulkUpdate:
    """Changes rows of a table by their primary key, in one round trip where the driver is slow at many.

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

    def put(self, batch: Batch, rows: Sequence[Row], count: Count | None = None) -> Count:
        """Let a batch change the rows, and count those that were there as the guard says."""
        count = count or Count()
        statement = self._for(batch.connection) if len(rows) > 1 else None
        if statement is None:
            return self._plain.put(batch, rows, count)
        for part in _parts(rows):
            if len(part) == 1:
                self._plain.put(batch, part, count)
            else:
                batch.put(statement, [(_rows_text(part),)], count)
        return count

    def _for(self, connection: Connection) -> str | None:
        dialect: Dialect = connection.dialect.mc_dialect  # type: ignore[attr-defined]
        if dialect not in self._statements:
            self._statements[dialect] = dialect.bulk_update(connection, self._table, self._values, self._keys)
        return self._statements[dialect]


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


# JSON text of many rows, as bulk statements take it; see `Dialect.bulk_insert`
_rows_text: Final = JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
