"""Brings the tables up to date by numbered migrations, forward only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection, func, insert, inspect, select

from mc.errors import SchemaVersionError
from mc.store.migrations import m0001_flows
from mc.store.tables import schema

__all__ = ["MIGRATIONS", "NEWEST_VERSION", "Transact", "bring_up_to_date", "read_version"]

T = TypeVar("T")

MIGRATIONS: Final[Mapping[int, Callable[[Connection], None]]] = {1: m0001_flows.upgrade}
NEWEST_VERSION: Final = max(MIGRATIONS)


class Transact(Protocol):
    """Does work in one transaction."""

    def __call__(self, work: Callable[[Connection], T], /) -> T:
        """Return what the work returns."""


def bring_up_to_date(*, read: Transact, write: Transact, now: str) -> None:
    """Apply the migrations that a database has not seen yet, in one transaction that locks out all others.

    Processes may do so at the same time: the first applies them, the others find them applied.

    Raises:
        SchemaVersionError: the tables are newer than this code; nothing was changed.
    """
    if read(read_version) != NEWEST_VERSION:
        write(partial(_migrate, now))


def read_version(connection: Connection) -> int:
    """Return the number of the newest migration that was applied, 0 in an empty database.

    Raises:
        SchemaVersionError: it is newer than this code.
    """
    if not inspect(connection).has_table(schema.name):
        return 0
    version: int = connection.scalar(select(func.max(schema.c.version))) or 0
    if version > NEWEST_VERSION:
        raise SchemaVersionError(
            f"The database has tables of version {version}; this version of mc knows them up to version "
            f"{NEWEST_VERSION}. Use the newer mc that wrote them. Nothing was changed.",
            found=version,
            expected=NEWEST_VERSION,
        )
    return version


def _migrate(now: str, connection: Connection) -> None:
    version = read_version(connection)
    if version == 0:
        schema.create(connection, checkfirst=True)
    for number in range(version + 1, NEWEST_VERSION + 1):
        MIGRATIONS[number](connection)
        connection.execute(insert(schema).values(version=number, applied_at=now))
