"""The upgrades as people meet them: how far a database is, and the statements that bring it forward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, inspect, select
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.elements import ClauseElement

from mc.durations import format_time
from mc.errors import StoreError
from mc.json_data import JsonData
from mc.store.database import Database
from mc.store.databases.kinds import find_dialect
from mc.store.schema.tables import schema
from mc.store.schema.upgrade import NEWEST_VERSION
from mc.store.schema.upgrades.numbered import UPGRADES, statements_of

__all__ = ["SchemaUpgrade", "list_upgrades", "upgrade_statements"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaUpgrade(JsonData):
    """A numbered change of the tables.

    Attributes:
        number: in the order in which they are applied.
        name: what it is about; None if this code does not know it.
        applied_at: ISO 8601; None: not yet.
    """

    number: int
    name: str | None
    applied_at: str | None = None


def list_upgrades(database: Database) -> list[SchemaUpgrade]:
    """Return the upgrades that this code knows or that a database has seen; nothing is changed."""

    def read(connection: Any) -> dict[int, str]:
        if not inspect(connection).has_table(schema.name):
            return {}
        rows = connection.execute(select(schema.c.version, schema.c.applied_at))
        return {row.version: row.applied_at for row in rows}

    applied = database.read(read)
    numbers = sorted(UPGRADES.keys() | applied.keys())
    return [
        SchemaUpgrade(number=number, name=_name_of(number), applied_at=applied.get(number))
        for number in numbers
    ]


def upgrade_statements(kind: str, now: datetime, after: int = 0) -> Iterator[str]:
    """Yield the statements that `upgrade` would execute, without a database.

    Args:
        kind: name of a kind of database, as in URLs.
        now: what they note as the time.
        after: the version that the tables have; 0: there are none.

    Raises:
        DatabaseUrlError: there is no such kind of database.
        StoreError: there is no such version.
    """
    dialect = find_dialect(kind)
    if not 0 <= after <= NEWEST_VERSION:
        raise StoreError(f"There is no version {after}; use 0 to {NEWEST_VERSION}.", found=after)
    compiler = dialect.record(lambda *_, **__: None).dialect

    def write_out(step: ClauseElement) -> str:
        return str(step.compile(dialect=compiler, compile_kwargs={"literal_binds": True})).strip()

    if not after:
        yield f"{write_out(CreateTable(schema))};"
    for number in sorted(UPGRADES):
        if number > after:
            yield from (f"{statement};" for statement in statements_of(UPGRADES[number], dialect))
            step = insert(schema).values(version=number, applied_at=format_time(now))
            yield f"{write_out(step)};"


def _name_of(number: int) -> str | None:
    if number not in UPGRADES:
        return None
    return UPGRADES[number].__module__.rpartition(".")[2].partition("_")[2]
