"""Statements that are compiled once, for what a tick does for each task or flow.

SQLAlchemy would work out the parameters of each row anew, which takes longer than the database needs
to write the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Executable
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

__all__ = ["Prepared", "Row"]

Row = Sequence[Any]


class _Compiled(NamedTuple):
    text: str
    arrange: Callable[[Row], Any]  # from the order of the names to what the driver wants


class Prepared:
    """An INSERT, UPDATE or DELETE whose parameters are given as rows.

    Args:
        statement: the statement.
        names: of its parameters, in the order in which rows hold them.
    """

    def __init__(self, statement: Executable, names: Sequence[str]) -> None:
        self._statement = statement
        self._names: Final = tuple(names)
        self._compiled: dict[type[Dialect], _Compiled] = {}

    def run(self, connection: Connection, row: Row) -> int:
        """Execute it once, and return how many rows it changed."""
        text, arrange = self._for(connection)
        return connection.exec_driver_sql(text, arrange(row)).rowcount

    def run_many(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Execute it for each row, and return how many rows it changed in all."""
        if not rows:
            return 0
        text, arrange = self._for(connection)
        return connection.exec_driver_sql(text, [arrange(row) for row in rows]).rowcount

    def _for(self, connection: Connection) -> _Compiled:
        return self._compiled.get(type(connection.dialect)) or self._compile(connection.dialect)

    def _compile(self, dialect: Dialect) -> _Compiled:
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
