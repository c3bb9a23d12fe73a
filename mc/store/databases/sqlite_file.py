"""The file of an SQLite database: who may read it, and whether it is still the one that was opened."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mc.errors import StoreReplacedError

__all__ = ["LARGE_LOG", "SqliteFile"]

LARGE_LOG: Final = 4 * 1024 * 1024  # bytes; as large as SQLite lets it grow where nobody is in the way

_Identity = tuple[int, int]


class SqliteFile:
    """A database's file, as one engine knows it.

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
            if Path(f"{self._path}-wal").stat().st_size <= LARGE_LOG:
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
