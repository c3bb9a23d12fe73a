"""A database of its own beside one that is in use, for a trial of what it stands on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, text

from mc.clock import SystemClock
from mc.errors import StoreError
from mc.store.database import Database
from mc.store.finding import Finding
from mc.store.schema.tables import schema
from mc.store.upkeep.storage_checks import check_disk, check_durability

__all__ = ["Scratch", "scratch_database", "touch"]

_PREFIX: Final = "mc_selftest_"
_LOCK_SECONDS: Final = 20.0


class Scratch:
    """An empty store that is dropped at the end.

    Attributes:
        url: of the store, with the password.
        path: its file; None on a server.
    """

    def __init__(self, url: URL) -> None:
        self.url = url.render_as_string(hide_password=False)
        self.path = Path(url.database or "") if url.get_backend_name() == "sqlite" else None

    def describe(self) -> list[Finding]:
        """Return what there is to say of the place without trying anything."""
        with closing(self.open()) as database:
            found = [database.read(check_durability)]
        return found if self.path is None else [*found, *check_disk(self.path)]

    def open(self, busy_seconds: float = _LOCK_SECONDS) -> Database:
        """Return the database; the caller closes it."""
        return Database(self.url, SystemClock(), busy_seconds)


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
        name = _PREFIX + uuid.uuid4().hex[:12]
        kind = database.dialect.name
        if kind != "sqlite":
            make, drop, own = _PLACES[kind](name, database.url)
            _make_place(database, make)
            try:
                yield Scratch(own)
            finally:
                database.write(lambda connection: connection.execute(text(drop)))
            return
        own = _beside(database, name)
        try:
            yield Scratch(own)
        finally:
            for ending in ("", "-wal", "-shm", "-journal"):
                Path(f"{own.database}{ending}").unlink(missing_ok=True)


def _beside(database: Database, name: str) -> URL:
    place = database.url.database or ""
    if database.dialect.is_private(database.url) or place.startswith("file:"):
        raise StoreError(
            "There is nothing to try with a database in memory or one that is named by a file: URI; name a "
            "file, such as --db sqlite:///mc.sqlite3.",
            database=place,
        )
    return database.url.set(database=str(Path(place).with_name(f".{name}.sqlite3")))


def _make_place(database: Database, statement: str) -> None:
    try:
        database.write(lambda connection: connection.execute(text(statement)))
    except StoreError as error:
        raise type(error)(
            f"The self-test makes a schema of its own, which did not work. {error.message} Grant "
            f"the user the right to {statement.rsplit(' ', 1)[0]}, or name another database by --db.",
            **error.details,
        ) from error


def _in_postgresql(name: str, url: URL) -> tuple[str, str, URL]:
    given = url.query.get("options", "")
    given = given if isinstance(given, str) else " ".join(given)
    own = url.update_query_dict({"options": f"{given} -c search_path={name}".strip()})
    return f"CREATE SCHEMA {name}", f"DROP SCHEMA {name} CASCADE", own


def _in_mysql(name: str, url: URL) -> tuple[str, str, URL]:
    return f"CREATE DATABASE {name}", f"DROP DATABASE {name}", url.set(database=name)


_PLACES: Final = {"postgresql": _in_postgresql, "mysql": _in_mysql}
