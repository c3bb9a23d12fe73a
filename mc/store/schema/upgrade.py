"""Numbered upgrades of the tables, forward only: what a database has seen, and what it lacks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection, func, insert, inspect, select

from mc.errors import SchemaVersionError
from mc.store.databases.kinds import dialect_of
from mc.store.schema.tables import schema

__all__ = [
    "NEWEST_VERSION",
    "Lock",
    "Transact",
    "bring_up_to_date",
    "newer_schema",
    "read_version",
]

T = TypeVar("T")
Lock = Callable[[Connection], AbstractContextManager[object]]

NEWEST_VERSION: Final = 15  # the highest number of an upgrade


class Transact(Protocol):
    """Does work in one transaction."""

    def __call__(self, work: Callable[[Connection], T], /) -> T:
        """Return what the work returns."""


def bring_up_to_date(*, read: Transact, write: Transact, lock: Lock, now: str) -> list[int]:
    """Apply the upgrades that a database has not seen yet, in one transaction that locks out all others.

    Processes may do so at the same time: the first applies them, the others find them applied.

    Args:
        read: makes a transaction that only reads.
        write: makes one that may write.
        lock: keeps other upgrades out; taken within the transaction.
        now: ISO 8601.

    Returns:
        The numbers of the upgrades that were applied.

    Raises:
        SchemaVersionError: the tables are newer than this code; nothing was changed.
    """
    if read(read_version) == NEWEST_VERSION:
        return []
    return write(partial(_upgrade, now, lock))


def read_version(connection: Connection) -> int:
    """Return the number of the newest upgrade that was applied, 0 in an empty database.

    Raises:
        SchemaVersionError: it is newer than this code.
    """
    if not inspect(connection).has_table(schema.name):
        return 0
    version: int = connection.scalar(select(func.max(schema.c.version))) or 0
    if version > NEWEST_VERSION:
        raise newer_schema(version)
    return version


def newer_schema(version: int) -> SchemaVersionError:
    """Return the error for tables of a version that is newer than this code."""
    return SchemaVersionError(
        f"The database has tables of version {version}; this version of mc knows them up to version "
        f"{NEWEST_VERSION}. Use the newer mc that wrote them. Nothing was changed.",
        found=version,
        expected=NEWEST_VERSION,
    )


def _upgrade(now: str, lock: Lock, connection: Connection) -> list[int]:
    from mc.store.schema.upgrades.numbered import UPGRADES, statements_of  # rarely needed

    with lock(connection):
        is_new = not inspect(connection).has_table(schema.name)
        version = 0 if is_new else read_version(connection)
        if is_new:
            schema.create(connection)
        numbers = [number for number in sorted(UPGRADES) if number > version]
        for number in numbers:
            if is_new:  # nothing of it can be there, which would take longer to look for than to make
                for statement in statements_of(UPGRADES[number], dialect_of(connection)):
                    connection.exec_driver_sql(statement)
            else:
                UPGRADES[number](connection)
            connection.execute(insert(schema).values(version=number, applied_at=now))
        return numbers
