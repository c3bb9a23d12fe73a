"""A database of its own beside one that is in use, for a trial of what it stands on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from sqlalchemy import Connection, text

from mc.clock import SystemClock
from mc.errors import StoreError
from mc.store.database import Database
from mc.store.databases.base import Place
from mc.store.finding import Finding
from mc.store.schema.tables import schema

__all__ = ["Scratch", "scratch_database", "touch"]

_PREFIX: Final = "mc_selftest_"
_LOCK_SECONDS: Final = 20.0


class Scratch:
    """An empty store that is dropped at the end.

    Attributes:
        url: of the store, with the password.
        path: its file; None on a server.
    """

    def __init__(self, place: Place) -> None:
        self.url = place.url.render_as_string(hide_password=False)
        self.path = place.files[0] if place.files else None

    def describe(self) -> list[Finding]:
        """Return what there is to say of the place without trying anything."""
        with closing(self.open()) as database:
            return database.read(lambda connection: list(_describe(connection, database)))

    def open(self, busy_seconds: float = _LOCK_SECONDS) -> Database:
        """Return the database; the caller closes it."""
        return Database(self.url, SystemClock(), busy_seconds)


def _describe(connection: Connection, database: Database) -> Iterator[Finding]:
    yield database.dialect.check_durability(connection)
    yield from database.dialect.check_place(connection, database.url, SystemClock().now())


def touch(connection: Connection) -> None:
    """Write a row as it is, which locks it."""
    connection.execute(schema.update().where(schema.c.version == 1).values(applied_at=schema.c.applied_at))


@contextmanager
def scratch_database(url: str) -> Iterator[Scratch]:
    """Yield an empty database in the same place as another one: a file beside it, a schema on its server.

    Args:
        url: of a database, which is neither read nor changed.

    Raises:
        StoreError: it has no place, or the user may not make a schema or database there.
        StoreUnreachableError: the place cannot be used.
    """
    with closing(Database(url, SystemClock(), _LOCK_SECONDS, upgrades=False)) as database:
        place = database.dialect.beside(database.url, _PREFIX + uuid.uuid4().hex[:12])
        if place.create:
            _make_place(database, place.create)
        try:
            yield Scratch(place)
        finally:
            if place.drop:
                database.write(lambda connection: connection.execute(text(place.drop)))
            for file in place.files:
                file.unlink(missing_ok=True)


def _make_place(database: Database, statement: str) -> None:
    try:
        database.write(lambda connection: connection.execute(text(statement)))
    except StoreError as error:
        raise type(error)(
            f"The self-test makes a schema of its own, which did not work. {error.message} Grant "
            f"the user the right to {statement.rsplit(' ', 1)[0]}, or name another database by --db.",
            **error.details,
        ) from error
