"""SQLite, which needs nothing installed."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Connection, Engine, Select, create_engine, event, func
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql.elements import ColumnElement

from mc.errors import DatabaseUrlError, StoreBusyError, StoreError, StoreReplacedError, StoreUnreachableError
from mc.store.databases.base import BatchStatement, Dialect, Place
from mc.store.databases.database_url import URL_FORMS, show_url
from mc.store.databases.network_mounts import find_network_mount

if TYPE_CHECKING:
    from mc.store.finding import Finding

__all__ = ["SQLITE", "SqliteDialect"]


class SqliteDialect(Dialect):
    """SQLite: one writer at a time, which takes its lock when the transaction begins."""

    name = "sqlite"
    sqlalchemy_name = "sqlite"
    has_one_writer = True

    def check_url(self, url: URL, text: str) -> None:
        if url.host or url.username or url.password or url.port:
            path = text.partition("://")[2]
            path = "file" if "@" in path or ":" in path else path
            raise DatabaseUrlError(
                f"{show_url(text)} names a host, and SQLite has none. Write {show_url(f'sqlite:///{path}')} "
                f"for a file below the current folder, sqlite:////absolute/path/to/file for one elsewhere."
            )
        if "\0" in text:
            raise DatabaseUrlError(f"{show_url(text)} holds a null character. {URL_FORMS}")

    def normalise(self, url: URL) -> URL:
        database = url.database
        if not database or database == ":memory:" or database.startswith("file:"):
            return url
        # A later change of the working directory must not lead to another file.
        return url.set(database=str(Path(database).absolute()))

    def is_private(self, url: URL) -> bool:
        return url.database in (None, "", ":memory:") or url.query.get("mode") == "memory"

    def check_existence(self, url: URL) -> None:
        place = url.database or ""
        if not self.is_private(url) and not place.startswith("file:") and not Path(place).exists():
            raise StoreUnreachableError(
                f"There is no database {place!r} yet. It is made when the first flow is stored (houston run, "
                f"houston submit), or by houston db init; or name another by --db.",
                database=place,
            )

    def beside(self, url: URL, name: str) -> Place:
        place = url.database or ""
        if self.is_private(url) or place.startswith("file:"):
            raise StoreError(
                "There is nothing to try with a database in memory or one that is named by a file: URI; name "
                "a file, such as --db sqlite:///mc.sqlite3.",
                database=place,
            )
        file = Path(place).with_name(f".{name}.sqlite3")
        files = tuple(file.with_name(file.name + ending) for ending in ("", "-wal", "-shm", "-journal"))
        return Place(url=url.set(database=str(file)), files=files)

    def open(self, url: URL, busy_seconds: float, file_mode: int | None, connections: int) -> Engine:
        options: dict[str, Any] = {"connect_args": {"timeout": busy_seconds, "check_same_thread": False}}
        _check_options(url)
        file = None
        if self.is_private(url):
            options["poolclass"] = StaticPool
        else:
            _check_place(url)
            # Where a URI says more, it is for SQLite to say whether there may be a new file.
            file = _SqliteFile(_path_of(url), file_mode if set(url.query) <= _OPTIONS else None)
        engine = create_engine(url, **options)

        @event.listens_for(engine, "connect")
        def _prepare(connection: Any, record: Any) -> None:
            connection.isolation_level = None  # BEGIN is said by us, see below
            connection.execute("PRAGMA foreign_keys=ON")
            if file is not None:
                _switch_to_wal(connection, busy_seconds)
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute(f"PRAGMA journal_size_limit={_LARGE_LOG}")
                record.info[_FILE], record.info[_OPENED] = file, file.note(connection)

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            if file is not None:
                file.check(connection.info[_OPENED])
            writes = connection.get_execution_options().get("mc_write")
            begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
            driver: Any = connection.connection.driver_connection
            try:
                driver.execute(begin)
            except sqlite3.Error as error:
                raise DBAPIError.instance(begin, None, error, sqlite3.Error) from error

        if file is not None:
            event.listen(engine, "do_connect", lambda *_: file.make_ready())
        return engine

    def tidy(self, engine: Engine) -> None:
        with closing(engine.raw_connection()) as connection:
            file = connection.info.get(_FILE)
            if file is not None:
                file.cut_log(connection.driver_connection)

    def now(self) -> ColumnElement[str]:
        return func.strftime("%Y-%m-%dT%H:%M:%f000+00:00", "now")

    def lock_rows(self, query: Select[Any]) -> Select[Any]:
        return query  # the transaction holds the only write lock already

    def send_batch(self, connection: Connection, statements: Sequence[BatchStatement]) -> None:
        if _is_watched(connection):
            super().send_batch(connection, statements)
            return
        # SQLAlchemy would take longer to pass them on than SQLite to carry them out
        driver: Any = connection.connection.driver_connection
        try:
            self.run_batch(driver.cursor(), statements)
        except sqlite3.Error as error:
            text = ";\n".join([statement.text for statement in statements])
            raise DBAPIError.instance(text, None, error, sqlite3.Error) from error

    def run_batch(self, cursor: Any, statements: Sequence[BatchStatement]) -> None:
        for statement in statements:
            if len(statement.parameters) == 1:
                cursor.execute(statement.text, statement.parameters[0])
            else:
                cursor.executemany(statement.text, statement.parameters)
            statement.changed = cursor.rowcount

    def row_id(self) -> str:
        return "INTEGER"  # no other type is counted up

    def json_entry(self, column: str, name: str) -> str:
        return f"json_extract({column}, '$.{name}')"

    def upgrade_lock(self, connection: Connection, busy_seconds: float) -> AbstractContextManager[object]:
        return nullcontext()  # the transaction keeps all writers out

    def explain(self, error: BaseException | None, url: URL) -> tuple[type[StoreError], str]:
        code = getattr(error, "sqlite_errorcode", None)
        kind = code & 0xFF if isinstance(code, int) else None
        if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreBusyError, "Another process holds its lock; try again."
        if kind in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return StoreUnreachableError, _why_not_open(url)
        return _MEANINGS.get(kind, (StoreError, ""))

    def check_durability(self, connection: Connection) -> Finding:
        from mc.store.databases.file_checks import check_journal  # no tick needs it

        return check_journal(connection)

    def check_place(self, connection: Connection, url: URL, now: datetime) -> Iterator[Finding]:
        from mc.store.databases.file_checks import check_disk, check_rights

        path = Path(_path_of(url))
        yield from check_disk(path)
        yield from check_rights(path)


_LARGE_LOG: Final = 4 * 1024 * 1024  # bytes; as large as SQLite lets it grow where nobody is in the way
# keys of what is known of a connection
_FILE: Final = "mc_file"
_OPENED: Final = "mc_opened"
# what may stand behind the ? of a URL, unless it says uri=true
_OPTIONS: Final = frozenset(
    {"cached_statements", "check_same_thread", "detect_types", "isolation_level", "timeout", "uri"}
)
_MEANINGS: Final[dict[int | None, tuple[type[StoreError], str]]] = {
    sqlite3.SQLITE_NOTADB: (
        StoreUnreachableError,
        "The file exists but is not an SQLite database; name another file.",
    ),
    sqlite3.SQLITE_READONLY: (StoreUnreachableError, "Make the file and its directory writable."),
    sqlite3.SQLITE_FULL: (StoreUnreachableError, "Make room on the disk."),
    sqlite3.SQLITE_IOERR: (
        StoreUnreachableError,
        "Make room if the disk is full; else look at the disk and at the system's log.",
    ),
    sqlite3.SQLITE_CORRUPT: (StoreUnreachableError, "The file is damaged; restore a copy of it."),
}


SQLITE: Final = SqliteDialect()

_engine_logger = logging.getLogger("sqlalchemy.engine.Engine")


def _is_watched(connection: Connection) -> bool:
    """Tell whether somebody is told by SQLAlchemy of each statement: a log, a tracer."""
    return bool(connection.dispatch.before_cursor_execute) or _engine_logger.isEnabledFor(logging.INFO)


_Identity = tuple[int, int]  # of a file: device and number


class _SqliteFile:
    """A database's file, as one engine knows it: who may read it, and whether it is the one that was opened.

    Args:
        path: of the file, which need not be there.
        mode: permissions of a new file; None: as the process's umask has it.
    """

    def __init__(self, path: str, mode: int | None) -> None:
        self._path = path
        self._mode = mode
        self._known: _Identity | None = None

    def make_ready(self) -> None:
        """Make the file before the first connection does, or see that it is the same before another is made.

        Raises:
            StoreReplacedError: it is another one, or none.
        """
        if self._known is not None:
            self._check(self._path, self._known)
        elif self._mode is not None:
            # What cannot be made is told by SQLite, and what is there stays as it is.
            with suppress(OSError):
                made = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, self._mode)
                try:
                    os.fchmod(made, self._mode)
                finally:
                    os.close(made)

    def note(self, connection: sqlite3.Connection) -> dict[str, _Identity]:
        """Return which files a new connection has opened, by path; `check` takes it."""
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # which opens the log
        found = {place: _identify(place) for place in (self._path, f"{self._path}-wal")}
        opened = {place: identity for place, identity in found.items() if identity is not None}
        if self._path not in opened:
            raise self._other(self._path, None)
        self._known = self._known or opened[self._path]
        return opened

    def check(self, opened: dict[str, _Identity]) -> None:
        """Compare the files that a connection has opened with those that have their names now.

        Raises:
            StoreReplacedError: they are others, or none.
        """
        for place, identity in opened.items():
            self._check(place, identity)

    def cut_log(self, connection: Any) -> None:
        """Take a large write-ahead log over into the database and cut it, unless somebody is in the way."""
        # What else goes wrong, the next transaction tells.
        with suppress(OSError, sqlite3.Error):
            if Path(f"{self._path}-wal").stat().st_size <= _LARGE_LOG:
                return
            patience = connection.execute("PRAGMA busy_timeout").fetchone()[0]
            connection.execute("PRAGMA busy_timeout=0")
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.execute(f"PRAGMA busy_timeout={patience}")

    def _check(self, place: str, known: _Identity) -> None:
        found = _identify(place)
        if found != known:
            raise self._other(place, found)

    def _other(self, place: str, found: _Identity | None) -> StoreReplacedError:
        what = "was deleted or moved away" if found is None else "was replaced by another file"
        return StoreReplacedError(
            f"{place!r} {what} while this process had it open; what it saved from now on would be lost. End "
            f"the programs that use the database, put the right file in its place, call houston db restored, "
            f"and start them anew.",
            database=self._path,
        )


def _identify(place: str) -> _Identity | None:
    try:
        found = os.stat(place)  # noqa: PTH116 - for each transaction; a Path would take longer than the call
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _switch_to_wal(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """Turn the write-ahead log on; the first to open a new file does it for all."""
    give_up_at = time.monotonic() + busy_seconds
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            if mode == "wal" or connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal":
                return
        except sqlite3.OperationalError as error:
            # SQLite does not wait by itself for this lock
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)
            continue
        raise StoreUnreachableError(
            "SQLite cannot keep a write-ahead log beside the database; put it on a local disk."
        )


def _check_options(url: URL) -> None:
    unknown = set(url.query) - _OPTIONS
    if unknown and "uri" not in url.query:  # SQLAlchemy would warn and pass over them
        raise ValueError(
            f"{', '.join(sorted(unknown))} means nothing without uri=true; known are "
            f"{', '.join(sorted(_OPTIONS))}"
        )


def _path_of(url: URL) -> str:
    place = url.database or ""
    return str(Path(unquote(urlsplit(place).path)).absolute()) if place.startswith("file:") else place


def _check_place(url: URL) -> None:
    mount = find_network_mount(url.database or "")
    if mount is not None:
        raise StoreUnreachableError(
            f"The database {url.database!r} lies on a network file system ({mount.kind} at {mount.path}), "
            f"where SQLite's locks and its write-ahead log cannot be relied on. Put it on a local disk.",
            database=url.database,
            file_system=mount.kind,
        )


def _why_not_open(url: URL) -> str:
    if not url.database or url.database.startswith("file:"):
        return "Check the path."
    path = Path(url.database)
    if path.is_dir():
        return f"{str(path)!r} is a directory; name a file in it."
    if not path.parent.is_dir():
        return f"The directory {str(path.parent)!r} does not exist; create it or name another."
    return (
        "Check the permissions of the file and of its directory, and whether its disk is mounted read-only."
    )
